import { Failure } from "../../core/failure.ts";
import { List } from "../../core/list.ts";
import { envelope } from "../../mcp/message.ts";
import { notificationText, requestText } from "../../mcp/outbound.ts";
import { readUpstream } from "../../mcp/upstream-message.ts";
import { decodeUtf8 } from "../../mcp/utf8.ts";
import { faults } from "../faults.ts";
import { bounded, faultOfError, faultOfStatus, isPlainJson, isType, readText } from "../http/answer.ts";
import { isEventStream } from "../http/event-stream.ts";
import { SessionLost } from "../http/lost-session.ts";
import { readRequestStream } from "../http/request-stream.ts";
import { Sent, type StreamContext } from "../http/sent.ts";
import { SessionStream } from "../http/session-stream.ts";
import { type EndpointSpec, HttpWire } from "../http/wire.ts";
import { initialize } from "../link/handshake.ts";
import { deliver } from "../link/inbox.ts";
import type { Answer, Ask, End, Link, LinkHost, Peer } from "../link/link.ts";
import { isIssued } from "../link/strays.ts";

const handshakeMs = 30_000;
/** Most controllers that are kept: about as many as a busy link has requests in flight. */
const mostUnused = 256;
/** The methods that are sent while a session is being opened. */
const handshakes = new Set(["initialize", "server/discover"]);

/** Opens an endpoint; connects with the first request. */
export function openHttp(spec: EndpointSpec, host: LinkHost): Link {
  return new HttpLink(spec, host);
}

class HttpLink implements Link {
  readonly pid = null;
  readonly ended: Promise<End>;
  readonly #host: LinkHost;
  readonly #wire: HttpWire;
  readonly #sessionStream: SessionStream;
  readonly #context: StreamContext;
  /** Most bytes of an answer. */
  readonly #longest: number;
  readonly #open = new List<Sent>();
  /**
   * Controllers of requests that ended well, for use by later requests: none has been aborted, and a new one is costly.
   */
  readonly #unused: AbortController[] = [];
  readonly #end: (end: End) => void;
  #last = 0;
  #renewal: Promise<void> | null = null;
  #over: End | null = null;

  constructor(spec: EndpointSpec, host: LinkHost) {
    this.#host = host;
    this.#wire = new HttpWire(spec, host);
    this.#longest = host.limits.result + envelope;
    this.#context = {
      host,
      wire: this.#wire,
      longest: this.#longest,
      issued: (id) => isIssued(id, this.#last),
      reply: (text, peer) => void this.#post(text, peer),
    };
    const fail = (reason: string): void => this.fail(reason);
    this.#sessionStream = new SessionStream(spec.getStream, { ...this.#context, open: this.#open, fail });
    const ended = Promise.withResolvers<End>();
    this.ended = ended.promise;
    this.#end = ended.resolve;
  }

  get streams(): number {
    return this.#sessionStream.streams;
  }

  get over(): boolean {
    return this.#over !== null;
  }

  ask(ask: Ask): Promise<Answer> {
    return this.#ask(ask, false);
  }

  // One function on purpose: each further asynchronous function would cost every call.
  async #ask(ask: Ask, again: boolean): Promise<Answer> {
    if (this.#renewal && !handshakes.has(ask.method)) await this.#renewal;
    const sent = this.#prepare(ask);
    const { id, controller } = sent;
    try {
      const response = await this.#wire.post(requestText(id, ask.method, ask.params(id)), ask, controller.signal);
      if (ask.method === "initialize" || !isPlainJson(response, this.#longest)) return await this.#read(response, sent);
      const text = decodeUtf8(await response.arrayBuffer());
      if (!controller.signal.aborted && this.#unused.length < mostUnused) this.#unused.push(controller);
      return this.#answer(text, response, sent);
    } catch (error) {
      const fault = this.#faultOf(error, sent);
      if (!(fault instanceof SessionLost)) throw fault;
      // The request was refused again in a session that was just opened: the session is not the reason.
      if (again) return fault.hand();
    } finally {
      sent.exchange.close();
      this.#open.delete(sent.place);
    }
    // The server has not run the request, or may run it again.
    await this.#renew(sent.session);
    return this.#ask(ask, true);
  }

  async tell(method: string, params: string | null, peer: Peer): Promise<void> {
    if (peer.era !== "legacy") return;
    await this.#post(notificationText(method, params), peer);
    if (method === "notifications/initialized" && !this.#over) this.#sessionStream.listen(peer);
  }

  fail(reason: string): void {
    if (this.#over) return;
    this.#finish({ asked: false, reason });
    // A server that was only slow would otherwise keep the session for ever.
    void this.#wire.endSession();
  }

  async close(): Promise<void> {
    const first = this.#over === null;
    this.#finish({ asked: true, reason: "it was stopped" });
    if (first) await this.#wire.endSession();
  }

  #finish(end: End): void {
    if (this.#over) return;
    this.#over = end;
    this.#sessionStream.close();
    for (const { controller } of this.#open.items) controller.abort();
    this.#end(end);
  }

  #prepare(ask: Ask): Sent {
    if (this.#over) throw faults.down(this.#host.server, this.#over.reason);
    if (ask.signal.aborted) throw faults.cancelled();
    const id = ++this.#last;
    const session = ask.peer.era === "legacy" && ask.method !== "initialize" ? this.#wire.session : null;
    return new Sent(ask, id, session, this.#unused.pop() ?? new AbortController(), this.#open);
  }

  /** The failure of a request that has no answer. If its caller gave up, the server is told so. */
  #faultOf(error: unknown, { ask, id, gaveUp, exchange }: Sent): Error {
    const { server } = this.#host;
    const over = this.#over;
    if (gaveUp && !over) {
      const late = gaveUp === "timeout";
      const params = `{"requestId":${id},"reason":"${late ? "timed out" : "cancelled"}"}`;
      if (ask.method !== "initialize") void this.tell("notifications/cancelled", params, ask.peer);
      return late ? faults.timeout(server, exchange.limit) : faults.cancelled();
    }
    if (over) return faults.lost(server, over.reason);
    return error instanceof Failure || error instanceof SessionLost ? error : faultOfError(server, error);
  }

  async #read(response: Response, sent: Sent): Promise<Answer> {
    const { server } = this.#host;
    const { ask } = sent;
    const { status, headers } = response;
    if (ask.method === "initialize" && status < 300) this.#wire.openSession(headers.get("mcp-session-id"));
    if (isEventStream(response)) return readRequestStream(response, sent, this.#context);
    const lost = (status === 404 || status === 410) && sent.isLost(status, "");
    if (lost || status === 401 || status === 403 || (status >= 300 && status < 400)) {
      void response.body?.cancel().catch(() => {});
      if (lost) throw new SessionLost(faults.down(server, "it refuses a session it just opened"));
      throw faultOfStatus(server, status, "");
    }
    return this.#answer(await readText(response, this.#longest, server), response, sent);
  }

  #answer(text: string, { status, headers }: Response, sent: Sent): Answer {
    const { ask, id } = sent;
    const answer = isType(headers, "application/json") ? this.#answerIn(text, id) : null;
    if (sent.isLost(status, answer ?? text)) {
      throw new SessionLost(answer ?? faultOfStatus(this.#host.server, status, text));
    }
    // The error of a broken server says nothing about what it speaks.
    if (answer === null || (status >= 500 && handshakes.has(ask.method))) {
      throw faultOfStatus(this.#host.server, status, text);
    }
    return answer;
  }

  /** The answer in a JSON body; null when the body does not answer this request. */
  #answerIn(text: string, id: number): Answer | null {
    const message = readUpstream(text, this.#host.limits);
    // Nearly every body is the result itself; the rest is for servers that answer otherwise.
    if (message.kind === "result" && message.idText === String(id)) return bounded(message, this.#host);
    const heard: { answer: Answer | null; fault: Failure | null } = { answer: null, fault: null };
    deliver(message, text, this.#host, {
      answer: (idText, answer) => {
        if (idText === String(id)) heard.answer = answer;
        else this.#host.dropped("an answer to nothing that was asked");
      },
      // An error without an id can only be about the one request that this body answers.
      anonymous: (answer) => {
        heard.answer = answer;
      },
      broken: (_, why) => {
        heard.fault = why;
      },
      find: () => undefined,
      issued: () => false,
      stray: this.#host.dropped,
      open: () => [],
      outside: null,
      reply: () => {},
    });
    if (heard.fault !== null) throw heard.fault;
    return heard.answer && bounded(heard.answer, this.#host);
  }

  /** Opens a new session in place of `lost`; all requests that lost the same session share the new one. */
  async #renew(lost: string | null): Promise<void> {
    if (this.#wire.session === lost) {
      this.#renewal ??= this.#handshakeAgain().finally(() => (this.#renewal = null));
    }
    await this.#renewal;
  }

  async #handshakeAgain(): Promise<void> {
    this.#sessionStream.close();
    this.#wire.openSession(null);
    await initialize(this, this.#host, Math.min(handshakeMs, this.#host.timeout));
    this.#host.renewed();
  }

  async #post(text: string, peer: Peer): Promise<void> {
    if (!this.#over) await this.#wire.courtesy(text, peer);
  }
}
