import { Failure } from "../../core/failure.ts";
import { List } from "../../core/linked-list.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { envelope } from "../../mcp/message.ts";
import { cancelledParams, notificationText, requestText } from "../../mcp/outbound.ts";
import { readUpstream } from "../../mcp/upstream-message.ts";
import { decodeUtf8 } from "../../mcp/utf8.ts";
import { faults, reasonOf, unsent } from "../faults.ts";
import {
  bounded,
  discard,
  faultOfError,
  faultOfStatus,
  isPlainJson,
  isType,
  readText,
  shortText,
} from "../http/answer.ts";
import { cancelled, Courtesies } from "../http/courtesies.ts";
import { isEventStream } from "../http/event-stream.ts";
import { isGone, isRefusal, longestWords, SessionLost } from "../http/lost-session.ts";
import { readRequestStream } from "../http/request-stream.ts";
import { Sent, type StreamContext } from "../http/sent.ts";
import { SessionStream } from "../http/session-stream.ts";
import { type EndpointSpec, HttpWire } from "../http/wire.ts";
import { initialize } from "../link/handshake.ts";
import { deliver } from "../link/inbox.ts";
import type { Answer, Ask, End, Link, LinkHost, Peer } from "../link/link.ts";
import { query } from "../link/query.ts";
import { isIssued } from "../link/strays.ts";

const handshakeMs = 30_000;
/** How long a server may take to show whether it knows the session, ms. */
const pingMs = 5_000;
/** So many refusals in a row are a reason to ask whether it is the session that is refused. */
const doubtful = 3;
/** Most controllers that are kept: about as many as a busy link has requests in flight. */
const mostUnused = 256;
const refusesAnew = (server: string): Failure => faults.down(server, "it refuses a session it just opened");
const rootsChanged = "notifications/roots/list_changed";
/** The methods that are sent while a session is being opened. */
const handshakes = new Set(["initialize", "server/discover"]);

/** `getStream`: whether the GET stream of a legacy session is opened. */
type HttpSpec = EndpointSpec & { readonly getStream: boolean };

/** Opens an endpoint; connects with the first request. */
export function openHttp(spec: HttpSpec, host: LinkHost): Link {
  return new HttpLink(spec, host);
}

class HttpLink implements Link {
  readonly pid = null;
  readonly ended: Promise<End>;
  readonly #host: LinkHost;
  readonly #proxy: string | null;
  readonly #wire: HttpWire;
  readonly #sessionStream: SessionStream;
  readonly #context: StreamContext;
  readonly #open = new List<Sent>();
  /**
   * Controllers of requests that ended well, for use by later requests: none has been aborted, and a new one is costly.
   */
  readonly #unused: AbortController[] = [];
  readonly #end: (end: End) => void;
  readonly #courtesies: Courtesies;
  #last = 0;
  /** The roots have changed since the server was last told so. */
  #rootsChanged = false;
  #renewal: Promise<void> | null = null;
  /** Requests of the session that were refused one after the other, in words that say nothing about it. */
  #refusals = 0;
  over: End | null = null;

  constructor(spec: HttpSpec, host: LinkHost) {
    this.#host = host;
    this.#proxy = spec.proxy;
    this.#wire = new HttpWire(spec, host);
    this.#courtesies = new Courtesies(this.#wire, host);
    this.#context = {
      host,
      wire: this.#wire,
      longest: () => host.limits.result + envelope,
      issued: (id) => isIssued(id, this.#last),
      reply: (text, peer) => this.#courtesy("answers to its requests", text, peer),
    };
    this.#sessionStream = new SessionStream(spec.getStream, {
      ...this.#context,
      open: this.#open,
      fail: (reason) => this.fail(reason),
      lookAfterSession: (peer) => this.#lookAfterSession(peer),
    });
    const ended = Promise.withResolvers<End>();
    this.ended = ended.promise;
    this.#end = ended.resolve;
  }

  get streams(): number {
    return this.#sessionStream.streams;
  }

  listening(): Promise<void> {
    return this.#sessionStream.settled;
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
      if (ask.method === "initialize" || !isPlainJson(response, this.#context.longest()))
        return await this.#read(response, sent);
      const text = decodeUtf8(await response.arrayBuffer());
      if (!controller.signal.aborted && this.#unused.length < mostUnused) this.#unused.push(controller);
      return this.#answer(text, response, sent);
    } catch (error) {
      const fault = this.#faultOf(error, sent);
      if (!(fault instanceof SessionLost)) throw fault;
      // The request was refused again in a session that was just opened: the session is not the reason.
      if (again) return fault.hand();
      if (fault.loss === "perhaps ran") {
        // Its caller must have no hold on a controller that the requests below may use, and others wait for.
        sent.close();
        await this.#lookAfterSession(ask.peer);
        return fault.hand();
      }
    } finally {
      sent.close();
      this.#open.delete(sent.place);
    }
    await this.#renew(sent.session);
    return this.#ask(ask, true);
  }

  async tell(method: string, params: string | null, peer: Peer): Promise<void> {
    if (peer.era !== "legacy") return;
    const text = notificationText(method, params);
    if (method === rootsChanged) return this.#tellOfRoots(text, peer);
    await this.#courtesy(method, text, peer);
    if (method === "notifications/initialized" && !this.over) this.#sessionStream.listen(peer);
  }

  fail(reason: string): void {
    void this.#finish({ asked: false, reason });
  }

  close(): Promise<void> {
    return this.#finish({ asked: true, reason: "it was stopped" });
  }

  async #finish(end: End): Promise<void> {
    if (this.over) return;
    this.over = end;
    this.#sessionStream.close();
    this.#courtesies.close();
    for (const { controller } of this.#open.items) controller.abort();
    this.#end(end);
    // Also where the link is broken: a server that was only slow would otherwise keep the session for ever.
    await this.#wire.endSession();
  }

  #prepare(ask: Ask): Sent {
    if (this.over) throw faults.down(this.#host.server, this.over.reason);
    if (ask.signal.aborted) throw faults.cancelled();
    const id = ++this.#last;
    const session = ask.peer.era === "legacy" && ask.method !== "initialize" ? this.#wire.session : null;
    return new Sent(ask, id, session, this.#unused.pop() ?? new AbortController(), this.#open);
  }

  /** The failure of a request that has no answer. If its caller gave up, the server is told so. */
  #faultOf(error: unknown, sent: Sent): Error {
    const { server } = this.#host;
    const { ask, id, gaveUp } = sent;
    // First, since a caller that ends its session gives up and ends the link with it.
    if (gaveUp) {
      const late = gaveUp === "timeout";
      const params = cancelledParams(String(id), ask.signal.reason, late ? "timed out" : "cancelled");
      if (ask.method !== "initialize") void this.tell(cancelled, params, ask.peer);
      return late ? faults.timeout(server, sent.limit) : faults.cancelled();
    }
    if (this.over) return faults.lost(server, this.over.reason);
    return error instanceof Failure || error instanceof SessionLost ? error : faultOfError(server, error, this.#proxy);
  }

  async #read(response: Response, sent: Sent): Promise<Answer> {
    const { server } = this.#host;
    const { ask } = sent;
    const { status, headers } = response;
    if (ask.method === "initialize" && status < 300) this.#wire.openSession(headers.get("mcp-session-id"));
    if (isEventStream(response)) {
      this.#note(status, sent);
      return readRequestStream(response, sent, this.#context);
    }
    // Only JSON can hold an error of the request's own; anything else need not be read to its end.
    const loss = isGone(status) && !isType(headers, "application/json") ? sent.lossIn(status, "") : null;
    if (loss !== null) {
      discard(response);
      throw new SessionLost(refusesAnew(server), loss);
    }
    if (status === 401 || status === 403 || (status >= 300 && status < 400)) {
      const refused = sent.lossIn(status, await shortText(response, longestWords));
      const fault = faultOfStatus(server, response, "");
      if (refused !== null) throw new SessionLost(fault, refused);
      this.#note(status, sent);
      throw fault;
    }
    return this.#answer(await readText(response, this.#host.limits.result, server), response, sent);
  }

  #answer(text: string, response: Response, sent: Sent): Answer {
    const { status, headers } = response;
    const { ask } = sent;
    const { server } = this.#host;
    const answer = isType(headers, "application/json") ? this.#answerIn(text, sent, status) : null;
    const loss = sent.lossIn(status, answer ?? text);
    if (loss !== null) {
      const isOwn = answer?.kind === "error" && answer.idText !== null;
      const said = isGone(status) && !isOwn ? refusesAnew(server) : (answer ?? faultOfStatus(server, response, text));
      throw new SessionLost(said, loss);
    }
    // Whoever says that there is no such method has looked for it: there are servers without a ping.
    const isRead = answer?.kind === "error" && answer.code === rpcCodes.methodNotFound;
    this.#note(isRead ? 200 : status, sent);
    // The error of a broken server says nothing about what it speaks.
    if (answer === null || (status >= 500 && handshakes.has(ask.method))) throw faultOfStatus(server, response, text);
    return answer;
  }

  /** The answer in a JSON body; null when the body does not answer this request. */
  #answerIn(text: string, { id, session, doubt }: Sent, status: number): Answer | null {
    const message = readUpstream(text, this.#host.limits);
    // Nearly every body is the result itself; the rest is for servers that answer otherwise.
    if (message.kind === "result" && message.idText === String(id)) return bounded(message, this.#host);
    type Heard = { answer: Answer | null; fault: Failure | null; own: boolean };
    const heard: Heard = { answer: null, fault: null, own: false };
    deliver(message, text, this.#host, {
      // An error without an id can only be about the one request that this body answers.
      answer: (idText, answer) => {
        if (idText === null || idText === String(id)) heard.answer = answer;
        else this.#host.dropped("an answer to nothing that was asked");
      },
      broken: (idText, why) => {
        heard.fault = why;
        heard.own = idText === String(id);
      },
      find: () => undefined,
      issued: () => false,
      stray: this.#host.dropped,
      aside: () => {},
      told: () => {},
      open: () => [],
      reply: () => {},
    });
    if (heard.fault !== null) {
      if (!isGone(status) || session === null) throw heard.fault;
      // A server may say in any form that it does not know the session, but under the request's id it may say anything.
      if (heard.own) throw new SessionLost(heard.fault, doubt);
    }
    return heard.answer && bounded(heard.answer, this.#host);
  }

  /** Sends a ping in the session, which renews a session that is lost. */
  async #lookAfterSession(peer: Peer): Promise<void> {
    const timeout = Math.min(pingMs, this.#host.timeout());
    await query(this, this.#host, { method: "ping", peer, timeout }).catch(() => {});
  }

  /** Notes how a request was answered. A server may say in words of its own that it does not know the session. */
  #note(status: number, { ask, session }: Sent): void {
    if (session === null || session !== this.#wire.session) return;
    if (status < 300) this.#refusals = 0;
    // There are servers that refuse every ping, and health checks send nothing else: that alone is no reason.
    else if (!isRefusal(status) || (ask.method === "ping" && this.#refusals < doubtful)) return;
    else if (++this.#refusals === doubtful) void this.#doubt(session, ask.peer);
  }

  /** Renews a session in which a ping is refused too. Not again before it takes anything: it may not be the reason. */
  async #doubt(session: string, peer: Peer): Promise<void> {
    await this.#lookAfterSession(peer);
    if (this.#refusals > doubtful) await this.#renew(session, false).catch(() => {});
  }

  /**
   * Opens a new session in place of `lost`; all requests that lost the same session share the new one. Unless it is
   * surely lost, it is kept where the server opens no other.
   */
  async #renew(lost: string | null, surely = true): Promise<void> {
    if (this.#wire.session === lost) {
      this.#renewal ??= this.#handshakeAgain(surely).finally(() => (this.#renewal = null));
    }
    await this.#renewal;
  }

  async #handshakeAgain(surely: boolean): Promise<void> {
    if (surely) {
      this.#sessionStream.close();
      this.#wire.openSession(null);
    }
    const { session } = this.#wire;
    try {
      this.#host.renewed(await initialize(this, this.#host, Math.min(handshakeMs, this.#host.timeout())));
    } catch (error) {
      // A refusal that came with the status of a success named none.
      if (!surely && (this.#wire.session ?? session) === session) return this.#wire.openSession(session);
      // Without a session all that is still asked here would be refused; the next link opens one.
      const reason = `it opens no new session (${reasonOf(error)})`;
      this.fail(reason);
      throw unsent(this.#host.server, error, reason);
    }
  }

  /** Says once more that the roots have changed only where they did so while the server took it. */
  async #tellOfRoots(text: string, peer: Peer): Promise<void> {
    this.#rootsChanged = true;
    if (this.#courtesies.of(rootsChanged) > 0) return;
    while (this.#rootsChanged) {
      this.#rootsChanged = false;
      await this.#courtesy(rootsChanged, text, peer);
    }
  }

  /** Sends a message that needs no answer. */
  async #courtesy(kind: string, text: string, peer: Peer): Promise<void> {
    if (!this.over) await this.#courtesies.send(kind, text, peer);
  }
}
