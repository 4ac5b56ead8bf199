import { Failure } from "../../core/failure.ts";
import { List, type ListNode } from "../../core/list.ts";
import { sleep } from "../../core/wait.ts";
import { envelope } from "../../mcp/message.ts";
import { notificationText, requestText } from "../../mcp/outbound.ts";
import { readUpstream } from "../../mcp/upstream-message.ts";
import { decodeUtf8 } from "../../mcp/utf8.ts";
import { isEventStream, readEvents, silentMs } from "../http/event-stream.ts";
import { Exchange, type GaveUp, type Sender } from "../link/exchange.ts";
import { faults } from "../faults.ts";
import { holdGetStream } from "../http/get-stream.ts";
import { initialize } from "../link/handshake.ts";
import { faultOfError, faultOfStatus, isPlainJson, isType, readText } from "../http/answer.ts";
import { type EndpointSpec, HttpWire } from "../http/wire.ts";
import { deliver, type Inbox, receive } from "../link/inbox.ts";
import type { Answer, Ask, End, Link, LinkHost, Peer } from "../link/link.ts";
import { isSessionLost, SessionLost } from "../http/lost-session.ts";
import { Resumptions } from "../http/resumptions.ts";
import { Outside } from "../link/outside.ts";
import { createStrayCount, flood, isIssued } from "../link/strays.ts";

/** How long a stream may stay open after its answer, so that its connection can be used again. */
const lingerMs = 1_000;
const handshakeMs = 30_000;
/** As many controllers as a busy link has in flight. */
const mostUnused = 256;
/** What is sent while a session is being opened. */
const handshakes = new Set(["initialize", "server/discover"]);

/** One request that was sent. */
class Sent implements Sender {
  readonly ask: Ask;
  readonly id: number;
  /** The session that it belongs to; null where there is none. */
  readonly session: string | null;
  readonly exchange: Exchange;
  /** Ends its connection. */
  readonly controller: AbortController;
  readonly place: ListNode<Sent>;
  /** Nobody waits for its answer any more. */
  gaveUp: GaveUp | null = null;

  constructor(ask: Ask, id: number, session: string | null, controller: AbortController, open: List<Sent>) {
    this.ask = ask;
    this.id = id;
    this.session = session;
    this.controller = controller;
    this.exchange = new Exchange(id, ask, this);
    this.place = open.add(this);
  }

  giveUp(_: Exchange, why: GaveUp): void {
    this.gaveUp = why;
    this.controller.abort();
  }
}

function release({ controller }: Sent): void {
  controller.abort();
}

/** Opens an endpoint; connects with the first request. */
export function openHttp(spec: EndpointSpec, host: LinkHost): Link {
  return new HttpLink(spec, host);
}

class HttpLink implements Link {
  readonly pid = null;
  readonly ended: Promise<End>;
  readonly #host: LinkHost;
  readonly #wire: HttpWire;
  readonly #listens: boolean;
  readonly #open = new List<Sent>();
  /** Controllers of requests that ended well: none of them was ever used, and each new one is costly. */
  readonly #unused: AbortController[] = [];
  readonly #end: (end: End) => void;
  #last = 0;
  #renewal: Promise<void> | null = null;
  #hub: AbortController | null = null;
  /** What the server asks outside of calls in its present session. */
  #outside: Outside | null = null;
  #over: End | null = null;
  streams = 0;

  constructor(spec: EndpointSpec, host: LinkHost) {
    this.#host = host;
    this.#wire = new HttpWire(spec, host);
    this.#listens = spec.getStream;
    const ended = Promise.withResolvers<End>();
    this.ended = ended.promise;
    this.#end = ended.resolve;
  }

  get over(): boolean {
    return this.#over !== null;
  }

  ask(ask: Ask): Promise<Answer> {
    return this.#ask(ask, false);
  }

  // One function for all of it: each asynchronous one in between would cost every call.
  async #ask(ask: Ask, again: boolean): Promise<Answer> {
    if (this.#renewal && !handshakes.has(ask.method)) await this.#renewal;
    const sent = this.#prepare(ask);
    const { id, controller } = sent;
    try {
      const response = await this.#wire.post(requestText(id, ask.method, ask.params(id)), ask, controller.signal);
      if (ask.method === "initialize" || !isPlainJson(response, this.#most)) return await this.#read(response, sent);
      const text = decodeUtf8(await response.arrayBuffer());
      if (!controller.signal.aborted && this.#unused.length < mostUnused) this.#unused.push(controller);
      return this.#answer(text, response, sent);
    } catch (error) {
      const fault = this.#faultOf(error, sent);
      if (!(fault instanceof SessionLost)) throw fault;
      // A request that is refused in a session just opened is not refused for the session's sake.
      if (again) return fault.hand();
    } finally {
      sent.exchange.close();
      this.#open.delete(sent.place);
    }
    // The request has not run, or may run again.
    await this.#renew(sent.session);
    return this.#ask(ask, true);
  }

  async tell(method: string, params: string | null, peer: Peer): Promise<void> {
    if (peer.era !== "legacy") return;
    await this.#post(notificationText(method, params), peer);
    if (method === "notifications/initialized") this.#listen(peer);
  }

  fail(reason: string): void {
    if (this.#over) return;
    this.#finish({ asked: false, reason });
    // A server that is only slow would keep the session for ever.
    void this.#wire.endSession();
  }

  async close(): Promise<void> {
    const first = this.#over === null;
    this.#finish({ asked: true, reason: "it was stopped" });
    if (first) await this.#wire.endSession();
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
    this.#hub?.abort();
    this.#outside?.close();
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

  /** What became of a request that has no answer; the server is told of one that nobody waits for any more. */
  #faultOf(error: unknown, { ask, id, gaveUp, exchange }: Sent): Error {
    const { server } = this.#host;
    const over = this.#ending();
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
    if (isEventStream(response)) return this.#readEvents(response, sent);
    const lost = (status === 404 || status === 410) && this.#isLost(sent, status, "");
    if (lost || status === 401 || status === 403 || (status >= 300 && status < 400)) {
      void response.body?.cancel().catch(() => {});
      if (lost) throw new SessionLost(faults.down(server, "it refuses a session it just opened"));
      throw faultOfStatus(server, status, "");
    }
    return this.#answer(await readText(response, this.#most, server), response, sent);
  }

  #answer(text: string, { status, headers }: Response, sent: Sent): Answer {
    const { ask, id } = sent;
    const answer = isType(headers, "application/json") ? this.#answerIn(text, id) : null;
    if (this.#isLost(sent, status, answer ?? text)) {
      throw new SessionLost(answer ?? faultOfStatus(this.#host.server, status, text));
    }
    // A server that is broken has not said anything about what it speaks.
    if (answer === null || (status >= 500 && handshakes.has(ask.method))) {
      throw faultOfStatus(this.#host.server, status, text);
    }
    return answer;
  }

  /** Whether a request was refused for its session: not if the server said anything for it, as then it has begun. */
  #isLost({ ask, session, exchange }: Sent, status: number, said: Answer | string): boolean {
    return session !== null && !exchange.heard && isSessionLost(status, said, session, ask.method === "tools/call");
  }

  /** The answer in a JSON body, null when it is none of this request. */
  #answerIn(text: string, id: number): Answer | null {
    const message = readUpstream(text, this.#host.limits);
    // Nearly every body is the result itself; the rest of this is for servers that answer otherwise.
    if (message.kind === "result" && message.idText === String(id)) return this.#within(message);
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
    return heard.answer && this.#within(heard.answer);
  }

  #within(answer: Answer): Answer {
    const { server, limits } = this.#host;
    if (answer.kind === "result" && answer.result.length > limits.result) throw faults.tooLarge(server, limits.result);
    return answer;
  }

  #readEvents(response: Response, sent: Sent): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const inbox = this.#streamInbox(sent, resolve, reject);
    let answered = false;
    const pumped = this.#follow(response, sent, inbox, () => answered).then(
      (broken) => reject(broken),
      (error: Error) => {
        reject(error);
        release(sent);
      },
    );
    return promise.finally(() => {
      answered = true;
      const timer = setTimeout(release, lingerMs, sent);
      void pumped.finally(() => clearTimeout(timer));
    });
  }

  /** Reads a request's stream to its end and resumes it where it breaks early; resolves to why no answer came. */
  async #follow(response: Response, { ask, controller }: Sent, inbox: Inbox, done: () => boolean): Promise<Error> {
    const { server } = this.#host;
    let messages = 0;
    const received = (text: string): void => {
      messages++;
      receive(text, this.#host, inbox);
    };
    const resumptions = new Resumptions();
    const bounds = { longest: this.#most, silence: ask.timeout === null ? silentMs : null };
    let stream: Response | null = response;
    let lastId: string | null = null;
    let retry: number | null = null;
    let cause: unknown = null;
    for (;;) {
      if (stream) {
        const before = messages;
        const end = await readEvents(stream, { ...bounds, received });
        const moved = end.lastId !== null && end.lastId !== lastId;
        resumptions.brought(messages > before ? "message" : moved ? "place" : "nothing");
        lastId = end.lastId ?? lastId;
        retry = end.retry ?? retry;
        cause = end.broken;
      }
      const resumable = ask.peer.era === "legacy" && lastId !== null && !controller.signal.aborted;
      const pause = done() || !resumable ? null : resumptions.next(retry);
      if (pause === null) break;
      await sleep(pause, controller.signal);
      if (done() || controller.signal.aborted) break;
      stream = await this.#wire.get(ask.peer, lastId, controller.signal).catch((error: unknown) => {
        cause = error;
        return null;
      });
      if (stream === null || isEventStream(stream)) continue;
      void stream.body?.cancel().catch(() => {});
      if (stream.status < 500) break;
      stream = null;
    }
    if (cause === null) return faults.lost(server, "its stream ended without an answer");
    return cause instanceof Failure ? cause : faultOfError(server, cause);
  }

  #streamInbox(sent: Sent, resolve: (answer: Answer) => void, reject: (error: Error) => void): Inbox {
    const host = this.#host;
    const { ask, id, exchange } = sent;
    // A flood fails the one request in whose answer it came, not the server's other requests.
    const stray = createStrayCount(host.dropped, () => {
      reject(faults.protocol(host.server, flood));
      release(sent);
    });
    const settle = (answer: Answer): void => {
      if (this.#isLost(sent, 200, answer)) return reject(new SessionLost(answer));
      try {
        resolve(this.#within(answer));
      } catch (error) {
        if (error instanceof Error) reject(error);
      }
    };
    return {
      answer: (idText, answer) => {
        if (idText === String(id)) settle(answer);
        else stray("an answer to nothing that was asked");
      },
      anonymous: settle,
      broken: (idText, why) => {
        if (idText === String(id)) reject(why);
      },
      find: (token) => (token === String(id) ? exchange : undefined),
      issued: (token) => isIssued(token, this.#last),
      stray,
      open: () => [exchange],
      outside: null,
      reply: (text) => void this.#post(text, ask.peer),
    };
  }

  /** Listens to what the server says outside of any request, where it has a session and serves such a stream. */
  #listen(peer: Peer): void {
    this.#hub?.abort();
    this.#outside?.close();
    if (!this.#listens || this.#over || this.#wire.session === null) return;
    const hub = (this.#hub = new AbortController());
    const { asked } = this.#host;
    this.#outside = asked && new Outside(asked);
    const inbox = this.#hubInbox(peer);
    const received = (text: string): void => receive(text, this.#host, inbox);
    const reading = { longest: this.#most, received };
    const open = (lastId: string | null, signal: AbortSignal) => this.#wire.get(peer, lastId, signal);
    void holdGetStream({ open, reading, signal: hub.signal }, (isOpen) => (this.streams += isOpen ? 1 : -1));
  }

  #hubInbox(peer: Peer): Inbox {
    const stray = createStrayCount(this.#host.dropped, () => this.fail(flood));
    const answer = (): void => stray("an answer on the stream that carries none");
    return {
      answer,
      anonymous: answer,
      broken: () => {},
      find: (token) => this.#open.items.find(({ id }) => String(id) === token)?.exchange,
      issued: (token) => isIssued(token, this.#last),
      stray,
      open: () => this.#open.items.map(({ exchange }) => exchange),
      outside: this.#outside,
      reply: (text) => void this.#post(text, peer),
    };
  }

  /** Opens a new session in place of `lost`; callers that lost the same one share it. */
  async #renew(lost: string | null): Promise<void> {
    if (this.#wire.session === lost) {
      this.#renewal ??= this.#handshakeAgain().finally(() => (this.#renewal = null));
    }
    await this.#renewal;
  }

  async #handshakeAgain(): Promise<void> {
    this.#hub?.abort();
    this.#outside?.close();
    this.#wire.openSession(null);
    await initialize(this, this.#host, Math.min(handshakeMs, this.#host.timeout));
    this.#host.renewed();
  }

  async #post(text: string, peer: Peer): Promise<void> {
    if (!this.#over) await this.#wire.courtesy(text, peer);
  }
}
