import { Failure } from "../core/failure.ts";
import { encodeHeader } from "../mcp/headers.ts";
import { notificationText, requestText } from "../mcp/outbound.ts";
import { createSseParser } from "../mcp/sse.ts";
import { readUpstream } from "../mcp/upstream-message.ts";
import { handshake } from "./discovery.ts";
import { deliver, type Inbox, receive } from "./exchange.ts";
import { faults } from "./faults.ts";
import { faultOfError, faultOfStatus, isPlainJson, isSessionLost, readText, SessionLost } from "./http-answer.ts";
import type { Answer, Ask, End, Link, LinkHost, Peer } from "./link.ts";

/** An HTTP endpoint to talk to. */
export type EndpointSpec = {
  readonly url: string;
  /** Sent with every request; nothing of a caller's request ever is. */
  readonly headers: Readonly<Record<string, string>>;
  readonly proxy: string | null;
};

const envelope = 64 * 1024;
/** How long a stream may stay open after its answer, so that its connection can be used again. */
const lingerMs = 1_000;
const courtesyMs = 5_000;
const handshakeMs = 30_000;
/** What is sent while a session is being opened. */
const handshakes = new Set(["initialize", "server/discover"]);
/** Visible ASCII (2025-11-25, session management). */
const sessionId = /^[\x21-\x7e]{1,1024}$/;

/** One request that was sent. */
type Sent = {
  readonly ask: Ask;
  readonly id: number;
  readonly inSession: boolean;
  /** Its time was up. */
  late: boolean;
  /** Nobody gave it up: the link itself has done with its stream. */
  done: boolean;
  timer: Timer | undefined;
};

/** Lets go of a request's connection, unless it was given up already. */
function release(request: Sent): void {
  if (request.ask.controller.signal.aborted) return;
  request.done = true;
  request.ask.controller.abort();
}

function expire(request: Sent): void {
  request.late = true;
  request.ask.controller.abort();
}

/** Opens an endpoint; connects with the first request. */
export function openHttp(spec: EndpointSpec, host: LinkHost): Link {
  return new HttpLink(spec, host);
}

class HttpLink implements Link {
  readonly pid = null;
  readonly ended: Promise<End>;
  readonly #spec: EndpointSpec;
  readonly #host: LinkHost;
  readonly #base: Record<string, string>;
  readonly #open = new Set<AbortController>();
  readonly #end: (end: End) => void;
  #last = 0;
  #session: string | null = null;
  #legacyHeaders: Headers | null = null;
  #renewal: Promise<void> | null = null;
  #over: End | null = null;

  constructor(spec: EndpointSpec, host: LinkHost) {
    this.#spec = spec;
    this.#host = host;
    this.#base = {
      ...spec.headers,
      "Content-Type": "application/json",
      Accept: "application/json, text/event-stream",
      // A compressed answer could be a bomb, and on the way from here to there it saves nothing.
      "Accept-Encoding": "identity",
    };
    const ended = Promise.withResolvers<End>();
    this.ended = ended.promise;
    this.#end = ended.resolve;
  }

  get waiting(): number {
    return this.#open.size;
  }

  ask(ask: Ask): Promise<Answer> {
    return this.#ask(ask, false);
  }

  // One function for all of it: each asynchronous one in between would cost every call.
  async #ask(ask: Ask, again: boolean): Promise<Answer> {
    if (this.#renewal && !handshakes.has(ask.method)) await this.#renewal;
    const session = this.#session;
    const request = this.#start(ask);
    try {
      const response = await this.#fetch(requestText(request.id, ask.method, ask.params(request.id)), ask);
      if (ask.method === "initialize" || !isPlainJson(response, this.#most)) return await this.#read(response, request);
      return this.#answer(await response.text(), response.status, request);
    } catch (error) {
      const fault = this.#faultOf(error, request);
      if (!(fault instanceof SessionLost)) throw fault;
      if (again) throw faults.down(this.#host.server, "it refuses a session it just opened");
    } finally {
      clearTimeout(request.timer);
      this.#open.delete(ask.controller);
    }
    // The server refused the session before it looked at the request, so it has not run.
    await this.#renew(session);
    return this.#ask(ask, true);
  }

  #start(ask: Ask): Sent {
    const { controller, timeout, peer, method } = ask;
    if (this.#over) throw faults.down(this.#host.server, this.#over.reason);
    if (controller.signal.aborted) throw faults.cancelled();
    const inSession = this.#session !== null && peer.era === "legacy" && method !== "initialize";
    const request: Sent = { ask, id: ++this.#last, inSession, late: false, done: false, timer: undefined };
    request.timer = setTimeout(expire, timeout, request);
    this.#open.add(controller);
    return request;
  }

  async tell(method: string, params: string | null, peer: Peer): Promise<void> {
    if (peer.era === "legacy") await this.#post(notificationText(method, params), peer);
  }

  fail(reason: string): void {
    this.#finish({ asked: false, reason });
  }

  async close(): Promise<void> {
    const headers = this.#legacyHeaders;
    this.#finish({ asked: true, reason: "it was stopped" });
    if (this.#session === null || !headers) return;
    await this.#courtesy("DELETE", headers, null);
  }

  /** Bytes of an answer. */
  get #most(): number {
    return this.#host.limits.result + envelope;
  }

  #ending(): End | null {
    return this.#over;
  }

  #finish(end: End): void {
    if (this.#over) return;
    this.#over = end;
    for (const controller of this.#open) controller.abort();
    this.#end(end);
  }

  /** What became of a request that has no answer; the server is told of one that nobody waits for any more. */
  #faultOf(error: unknown, { ask, id, late, done }: Sent): Error {
    const { server } = this.#host;
    const over = this.#ending();
    if (ask.controller.signal.aborted && !done && !over) {
      const params = `{"requestId":${id},"reason":"${late ? "timed out" : "cancelled"}"}`;
      if (ask.method !== "initialize") void this.tell("notifications/cancelled", params, ask.peer);
      return late ? faults.timeout(server, ask.timeout) : faults.cancelled();
    }
    if (over) return faults.lost(server, over.reason);
    return error instanceof Failure || error instanceof SessionLost ? error : faultOfError(server, error);
  }

  #fetch(body: string, ask: Ask): Promise<Response> {
    const { url, proxy } = this.#spec;
    const { signal } = ask.controller;
    const headers = ask.peer.era === "modern" ? this.#modern(ask) : this.#legacy(ask);
    // A redirect would carry headers and body to wherever the server points.
    const init = { method: "POST", headers, body, signal, redirect: "manual" } as const;
    return fetch(url, proxy === null ? init : { ...init, proxy });
  }

  #modern({ method, peer, headers }: Pick<Ask, "method" | "peer" | "headers">): Record<string, string> {
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

  async #read(response: Response, request: Sent): Promise<Answer> {
    const { server } = this.#host;
    const { ask, inSession } = request;
    const { status, headers } = response;
    const type = headers.get("content-type") ?? "";
    if (ask.method === "initialize" && status < 300) this.#openSession(headers.get("mcp-session-id"));
    if (status < 300 && type.startsWith("text/event-stream")) return this.#readEvents(response, request);
    const lost = status === 404 && inSession;
    if (lost || status === 401 || status === 403 || (status >= 300 && status < 400)) {
      void response.body?.cancel().catch(() => {});
      throw lost ? new SessionLost() : faultOfStatus(server, status, "");
    }
    const text = await readText(response, this.#most, server);
    if (!type.startsWith("application/json")) throw faultOfStatus(server, status, text);
    return this.#answer(text, status, request);
  }

  #answer(text: string, status: number, { id, inSession }: Sent): Answer {
    const answer = this.#answerIn(text, id);
    if (answer === null) throw faultOfStatus(this.#host.server, status, text);
    if (inSession && isSessionLost(answer)) throw new SessionLost();
    return answer;
  }

  /** The answer in a JSON body, null when it is none of this request. */
  #answerIn(text: string, id: number): Answer | null {
    const message = readUpstream(text, this.#host.limits);
    // What nearly every body is; the rest of this is for servers that answer otherwise.
    if (message.kind === "result" && message.idText === String(id)) return this.#within(message);
    const heard: { answer: Answer | null; fault: string | null } = { answer: null, fault: null };
    deliver(message, text, this.#host, {
      answer: (idText, answer) => {
        if (idText === String(id)) heard.answer = answer;
        else this.#host.dropped("an answer to nothing that was asked");
      },
      // An error without an id can only be about the one request that this body answers.
      anonymous: (answer) => {
        heard.answer = answer;
      },
      progress: () => this.#host.dropped("progress outside a stream"),
      broken: (_, reason) => {
        heard.fault = reason;
      },
      reply: () => {},
    });
    if (heard.fault !== null) throw faults.protocol(this.#host.server, `its answer has ${heard.fault}`);
    return heard.answer && this.#within(heard.answer);
  }

  #within(answer: Answer): Answer {
    const { server, limits } = this.#host;
    if (answer.kind === "result" && answer.result.length > limits.result) throw faults.tooLarge(server, limits.result);
    return answer;
  }

  #readEvents(response: Response, request: Sent): Promise<Answer> {
    const { server } = this.#host;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const inbox = this.#streamInbox(request, resolve, reject);
    const pump = async (): Promise<void> => {
      try {
        await this.#pump(response, inbox);
        reject(faults.lost(server, "its stream ended without an answer"));
      } catch (error) {
        reject(error instanceof Failure ? error : faultOfError(server, error));
        release(request);
      }
    };
    const pumped = pump();
    const settled = promise.finally(() => {
      const timer = setTimeout(release, lingerMs, request);
      void pumped.finally(() => clearTimeout(timer));
    });
    return settled;
  }

  #streamInbox(request: Sent, resolve: (answer: Answer) => void, reject: (error: Error) => void): Inbox {
    const host = this.#host;
    const { ask, id, inSession } = request;
    const settle = (answer: Answer): void => {
      if (inSession && isSessionLost(answer)) return reject(new SessionLost());
      try {
        resolve(this.#within(answer));
      } catch (error) {
        if (error instanceof Error) reject(error);
      }
    };
    return {
      answer: (idText, answer) => {
        if (idText === String(id)) settle(answer);
        else host.dropped("an answer to nothing that was asked");
      },
      anonymous: settle,
      progress: (token, params) => {
        if (ask.progress && String(token) === String(id)) ask.progress(params);
        else host.dropped("progress of nothing in flight");
      },
      broken: (idText, reason) => {
        if (idText === String(id)) reject(faults.protocol(host.server, `its answer has ${reason}`));
      },
      reply: (text) => void this.#post(text, ask.peer),
    };
  }

  async #pump(response: Response, inbox: Inbox): Promise<void> {
    const { server, limits } = this.#host;
    const parser = createSseParser({ maxEvent: this.#most, onEvent: ({ data }) => receive(data, this.#host, inbox) });
    let left = 4 * this.#most;
    for await (const chunk of response.body ?? []) {
      left -= chunk.length;
      if (left < 0) throw faults.tooLarge(server, limits.result);
      parser.push(chunk);
    }
  }

  #openSession(id: string | null): void {
    if (id !== null && !sessionId.test(id))
      throw faults.protocol(this.#host.server, "its session id has characters that no header may carry");
    this.#session = id;
    this.#legacyHeaders = null;
  }

  /** Opens a new session in place of `lost`; callers that lost the same one share it. */
  async #renew(lost: string | null): Promise<void> {
    if (this.#session === lost) this.#renewal ??= this.#handshakeAgain().finally(() => (this.#renewal = null));
    await this.#renewal;
  }

  async #handshakeAgain(): Promise<void> {
    this.#session = null;
    this.#legacyHeaders = null;
    const peer = await handshake(this, this.#host, handshakeMs);
    if (peer.era === "modern") throw faults.down(this.#host.server, "it changed its protocol; it is connected anew");
  }

  async #post(text: string, peer: Peer): Promise<void> {
    if (!this.#over) await this.#courtesy("POST", this.#legacy({ method: "", peer }), text);
  }

  /** Sends what needs no answer; whether it arrives changes nothing here. */
  async #courtesy(method: string, headers: Headers, body: string | null): Promise<void> {
    const { url, proxy } = this.#spec;
    const signal = AbortSignal.timeout(courtesyMs);
    try {
      const response = await fetch(url, {
        method,
        headers,
        body,
        signal,
        redirect: "manual",
        ...(proxy !== null && { proxy }),
      });
      await response.body?.cancel();
    } catch {
      this.#host.log.debug("a server did not take a message that needs no answer", { server: this.#host.server });
    }
  }
}
