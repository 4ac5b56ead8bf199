import { encodeHeader } from "../../mcp/headers.ts";
import { faults } from "../faults.ts";
import type { LinkHost, LinkRequest, Peer } from "../link/link.ts";
import { type HostName, hostNameOf } from "./host-names.ts";

/** An HTTP endpoint to talk to. */
export type EndpointSpec = {
  readonly url: string;
  /** Sent with every request. No header of a caller's request is ever forwarded. */
  readonly headers: Readonly<Record<string, string>>;
  readonly proxy?: string | undefined;
  /** Maximum time for the server to accept a message that needs no answer, ms. */
  readonly courtesy?: number;
};

const courtesyMs = 5_000;
/** Maximum number of messages of one kind without an answer that are in flight to a server. */
export const maxCourtesies = 64;
/** Visible ASCII (2025-11-25, session management). */
const sessionId = /^[\x21-\x7e]{1,1024}$/;

/**
 * Redirects are not followed: they would carry headers and body to wherever the server points. Bun's own timeout is
 * off: it ends a response that is silent for five minutes, but a stream may be silent for days, and a call has its own
 * deadline. Nothing is decompressed: a few hundred bytes could expand to the maximum size of a result, for every
 * waiting call. Nothing is logged: BUN_CONFIG_VERBOSE_FETCH would show credentials.
 */
const fetchRules = { redirect: "manual", timeout: false, decompress: false, verbose: false } as const;

/** Sends a request to an endpoint, or to another URL of the same server. */
export function sendTo(spec: EndpointSpec, init: RequestInit, to = spec.url): Promise<Response> {
  const { proxy } = spec;
  const send = (): Promise<Response> => fetch(to, { ...init, ...fetchRules, ...(proxy !== undefined && { proxy }) });
  return hostNameOf(spec)?.awaited(init.signal)?.then(send) ?? send();
}

/** Returns the signal that ends a message that needs no answer. */
export const courtesyTimeout = ({ courtesy = courtesyMs }: EndpointSpec): AbortSignal => AbortSignal.timeout(courtesy);

/**
 * Where a message that is not a request belongs: the server's era and revision, and its session, if any. Messages of a
 * lost session mean nothing in the next one, whose ids start again.
 */
export type Place = { readonly peer: Peer; readonly session: string | null };

/** What the headers of a request depend on. */
type HeaderInput = Pick<LinkRequest, "method" | "peer" | "headers">;

/** Sends HTTP requests with the headers of the protocol, and holds their session. */
export class HttpWire {
  readonly #spec: EndpointSpec;
  readonly #host: LinkHost;
  readonly #name: HostName | null;
  readonly #base: Record<string, string>;
  #session: string | null = null;
  #legacyHeaders: Headers | null = null;

  constructor(spec: EndpointSpec, host: LinkHost) {
    this.#spec = spec;
    this.#host = host;
    this.#name = hostNameOf(spec);
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
      throw faults.protocol(this.#host.server, "its session id contains characters that are not allowed in a header");
    this.#session = id;
    this.#legacyHeaders = null;
  }

  post(body: string, envelope: HeaderInput, signal: AbortSignal): Promise<Response> {
    const headers = this.#headersOf(envelope);
    const { url, proxy } = this.#spec;
    // Spelled out, since every call runs this: spreading `fetchRules` would cost as much as everything else.
    const init = {
      method: "POST",
      headers,
      body,
      signal,
      redirect: "manual",
      timeout: false,
      decompress: false,
      verbose: false,
    } as const;
    const send = (): Promise<Response> => fetch(url, proxy === undefined ? init : { ...init, proxy });
    return this.#name?.awaited(signal)?.then(send) ?? send();
  }

  /** Opens the session's own stream, or the rest of a stream that broke after the event `lastId`. */
  get(place: Place, lastId: string | null, signal: AbortSignal): Promise<Response> {
    const headers = new Headers(this.#legacy(place));
    headers.delete("Content-Type");
    headers.set("Accept", "text/event-stream");
    if (lastId !== null) headers.set("Last-Event-ID", lastId);
    return sendTo(this.#spec, { method: "GET", headers, signal });
  }

  /** Sends a message that needs no answer; false if the server does not accept it in time. */
  courtesy(text: string, place: Place): Promise<boolean> {
    return this.#quietly({ method: "POST", headers: this.#legacy(place), body: text });
  }

  /** Ends the session. If its handshake was not completed, its revision is unknown. */
  async endSession(): Promise<void> {
    if (this.#session === null) return;
    const headers = this.#legacyHeaders ?? { ...this.#base, "Mcp-Session-Id": this.#session };
    await this.#quietly({ method: "DELETE", headers });
  }

  /** Sends a request whose outcome does not matter; false if it timed out. */
  async #quietly(init: RequestInit): Promise<boolean> {
    const signal = courtesyTimeout(this.#spec);
    try {
      const response = await sendTo(this.#spec, { ...init, signal });
      await response.body?.cancel();
    } catch {
      this.#host.log.debug("a server did not accept a message that needs no answer", { server: this.#host.server });
    }
    return !signal.aborted;
  }

  #headersOf({ method, peer, headers }: HeaderInput): Headers | Record<string, string> {
    if (peer.era === "legacy")
      return method === "initialize" ? this.#base : this.#legacy({ peer, session: this.#session });
    return { ...this.#base, "MCP-Protocol-Version": peer.revision, "Mcp-Method": encodeHeader(method), ...headers };
  }

  #legacy({ peer, session }: Place): Headers {
    const isPresent = session === this.#session;
    if (isPresent && this.#legacyHeaders) return this.#legacyHeaders;
    const headers = new Headers({
      ...this.#base,
      "MCP-Protocol-Version": peer.revision,
      ...(session !== null && { "Mcp-Session-Id": session }),
    });
    if (isPresent) this.#legacyHeaders = headers;
    return headers;
  }
}
