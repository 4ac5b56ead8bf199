import { encodeHeader } from "../../mcp/headers.ts";
import { faults } from "../faults.ts";
import type { Ask, LinkHost, Peer } from "../link/link.ts";

/** An HTTP endpoint to talk to. */
export type EndpointSpec = {
  readonly url: string;
  /** Sent with every request. No header of a caller's request is ever sent. */
  readonly headers: Readonly<Record<string, string>>;
  readonly proxy: string | null;
};

/** How long a message that needs no answer may take, ms. */
export const courtesyMs = 5_000;
/** Messages of one kind that need no answer and are on their way to a server at once. */
export const mostCourtesies = 64;
/** Visible ASCII (2025-11-25, session management). */
const sessionId = /^[\x21-\x7e]{1,1024}$/;

/**
 * No redirect is followed: it would carry headers and body to wherever the server points. Bun's own time-out is off: it
 * ends a response that is silent for five minutes, but a stream may be silent for days, and a call has a deadline of
 * its own. Nothing is decompressed: a few hundred bytes would take all the memory that a result may take, for every call
 * that waits.
 */
export const fetchRules = { redirect: "manual", timeout: false, decompress: false } as const;

type Sendable = Headers | Record<string, string>;

/** What a request's headers depend on. */
export type HeaderInput = Pick<Ask, "method" | "peer" | "headers">;

/** Sends HTTP requests with the headers of the protocol, and holds the session that they belong to. */
export class HttpWire {
  readonly #spec: EndpointSpec;
  readonly #host: LinkHost;
  readonly #base: Record<string, string>;
  readonly #courtesyMs: number;
  #session: string | null = null;
  #legacyHeaders: Headers | null = null;

  /** The server may take `courtesy` ms to accept a message that needs no answer. */
  constructor(spec: EndpointSpec, host: LinkHost, courtesy: number) {
    this.#spec = spec;
    this.#host = host;
    this.#courtesyMs = courtesy;
    this.#base = {
      ...spec.headers,
      "Content-Type": "application/json",
      Accept: "application/json, text/event-stream",
      // A compressed answer could be a bomb, so none is read.
      "Accept-Encoding": "identity",
    };
  }

  get session(): string | null {
    return this.#session;
  }

  openSession(id: string | null): void {
    if (id !== null && !sessionId.test(id))
      throw faults.protocol(this.#host.server, "its session id has characters that no header may carry");
    this.#session = id;
    this.#legacyHeaders = null;
  }

  post(body: string, envelope: HeaderInput, signal: AbortSignal): Promise<Response> {
    const headers = envelope.peer.era === "modern" ? this.#modern(envelope) : this.#legacy(envelope);
    const { url, proxy } = this.#spec;
    // Spelled out, since every call does this: a spread of `fetchRules` would cost as much as all the rest.
    const init = {
      method: "POST",
      headers,
      body,
      signal,
      redirect: "manual",
      timeout: false,
      decompress: false,
    } as const;
    return fetch(url, proxy === null ? init : { ...init, proxy });
  }

  /** Opens the session's own stream, or the rest of a stream that broke after the event `lastId`. */
  get(peer: Peer, lastId: string | null, signal: AbortSignal): Promise<Response> {
    const headers = new Headers(this.#legacy({ method: "", peer }));
    headers.delete("Content-Type");
    headers.set("Accept", "text/event-stream");
    if (lastId !== null) headers.set("Last-Event-ID", lastId);
    return this.#send({ method: "GET", headers, signal });
  }

  /** Sends a message that needs no answer. False if the server does not take it in time. */
  courtesy(text: string, peer: Peer): Promise<boolean> {
    return this.#quietly({ method: "POST", headers: this.#legacy({ method: "", peer }), body: text });
  }

  /** Ends the session, if its handshake was completed. */
  async endSession(): Promise<void> {
    const headers = this.#legacyHeaders;
    if (this.#session !== null && headers) await this.#quietly({ method: "DELETE", headers });
  }

  /** Sends a request whose outcome changes nothing for the gateway. False if it ran into its time-out. */
  async #quietly(init: { method: string; headers: Headers; body?: string }): Promise<boolean> {
    const signal = AbortSignal.timeout(this.#courtesyMs);
    try {
      const response = await this.#send({ ...init, signal });
      await response.body?.cancel();
    } catch {
      this.#host.log.debug("a server did not take a message that needs no answer", { server: this.#host.server });
    }
    return !signal.aborted;
  }

  #send(init: { method: string; headers: Sendable; body?: string; signal: AbortSignal }) {
    const { url, proxy } = this.#spec;
    const request = { ...init, ...fetchRules } as const;
    return fetch(url, proxy === null ? request : { ...request, proxy });
  }

  #modern({ method, peer, headers }: HeaderInput): Record<string, string> {
    return { ...this.#base, "MCP-Protocol-Version": peer.revision, "Mcp-Method": encodeHeader(method), ...headers };
  }

  #legacy({ method, peer }: Pick<Ask, "method" | "peer">): Headers {
    if (method === "initialize") return new Headers(this.#base);
    return (this.#legacyHeaders ??= new Headers({
      ...this.#base,
      "MCP-Protocol-Version": peer.revision,
      ...(this.#session !== null && { "Mcp-Session-Id": this.#session }),
    }));
  }
}
