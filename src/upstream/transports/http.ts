import { Failure } from "../../core/failure.ts";
import { List } from "../../core/linked-list.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { within } from "../../core/wait.ts";
import { headroom } from "../../mcp/message.ts";
import { cancelledParams, notificationText, requestText } from "../../mcp/outbound.ts";
import { readUpstream } from "../../mcp/upstream-message.ts";
import { decodeUtf8 } from "../../mcp/utf8.ts";
import { faults, isNotServerFault } from "../faults.ts";
import { discard, faultOfError, faultOfStatus, isPlainJson, isType, readText, shortText } from "../http/answer.ts";
import { maxUncountedBytes } from "../http/arrival.ts";
import { Courtesies } from "../http/courtesies.ts";
import { isEventStream, type StreamContext } from "../http/event-stream.ts";
import { HttpExchange } from "../http/http-exchange.ts";
import { isGone, maxWordsLength, SessionLost } from "../http/lost-session.ts";
import { readRequestStream } from "../http/request-stream.ts";
import { HttpSession } from "../http/session.ts";
import { type EndpointSpec, HttpWire, type Place } from "../http/wire.ts";
import { isIssued, tooLarge } from "../link/exchange.ts";
import { deliver } from "../link/inbox.ts";
import type { Answer, End, Link, LinkHost, LinkRequest, Peer } from "../link/link.ts";

/** The maximum number of unused controllers that are kept: about as many as a busy link has requests in flight. */
const maxUnused = 256;
const refusesNewSession = (server: string): Failure =>
  faults.down(server, "it refuses a session that it has just opened");
/** The methods that are sent while a session is being opened. */
const handshakes = new Set(["initialize", "server/discover"]);

/** Waits for a renewal that others wait for too, until the request is given up. */
const whileWanted = ({ signal }: LinkRequest, renewal: Promise<void>): Promise<void> =>
  within(renewal, null, signal, () => {
    throw faults.cancelled();
  });

/** `getStream`: whether the GET stream of a legacy session is opened. */
type HttpSpec = EndpointSpec & { readonly getStream: boolean };

/** Opens a link to an endpoint; connects with the first request. */
export function openHttp(spec: HttpSpec, host: LinkHost): Link {
  return new HttpLink(spec, host);
}

class HttpLink implements Link {
  readonly pid = null;
  readonly #ended = Promise.withResolvers<End>();
  readonly ended = this.#ended.promise;
  readonly host: LinkHost;
  readonly #proxy: string | undefined;
  readonly #wire: HttpWire;
  readonly #session: HttpSession;
  readonly #context: StreamContext;
  readonly #open = new List<HttpExchange>();
  /** Controllers of requests that succeeded, kept for reuse: none has been aborted, and creating one is costly. */
  readonly #unused: AbortController[] = [];
  readonly #courtesies: Courtesies;
  readonly #gone: Promise<void>;
  #last = 0;
  over: End | null = null;

  constructor(spec: HttpSpec, host: LinkHost) {
    this.host = host;
    this.#proxy = spec.proxy;
    this.#wire = new HttpWire(spec, host);
    this.#courtesies = new Courtesies(this.#wire, host);
    // Also if the link is broken: a server that was only slow would otherwise keep the session forever.
    this.#gone = this.ended.then(() => this.#wire.endSession());
    this.#context = {
      host,
      wire: this.#wire,
      longest: () => host.limits().result + headroom,
      issued: (id) => isIssued(id, this.#last),
      reply: (text, place) => this.#courtesy("answers to its requests", text, place),
    };
    this.#session = new HttpSession({ ...this.#context, link: this, open: this.#open, getStream: spec.getStream });
  }

  get streams(): number {
    return this.#session.streams;
  }

  listening(): Promise<void> {
    return this.#session.listening;
  }

  request(request: LinkRequest): Promise<Answer> {
    return this.#request(request, false);
  }

  // One function on purpose: each further async function would cost every call time.
  async #request(request: LinkRequest, again: boolean): Promise<Answer> {
    const { renewal } = this.#session;
    if (renewal && !handshakes.has(request.method)) {
      await whileWanted(request, renewal);
      await request.prepare?.();
    }
    const exchange = this.#prepare(request);
    const node = this.#open.add(exchange);
    const { id, controller } = exchange;
    try {
      const response = await this.#wire.post(
        requestText(id, request.method, request.params(id)),
        request,
        controller.signal,
      );
      const short = Math.min(maxUncountedBytes, this.#context.longest());
      if (request.method === "initialize" || !isPlainJson(response, short)) return await this.#read(response, exchange);
      const text = decodeUtf8(await response.arrayBuffer());
      if (!controller.signal.aborted && this.#unused.length < maxUnused) this.#unused.push(controller);
      return this.#answer(text, response, exchange);
    } catch (error) {
      const fault = this.#faultOf(error, exchange);
      if (!(fault instanceof SessionLost)) throw fault;
      // The request was refused again in a new session, so the session is not the reason.
      if (again) return fault.hand();
      if (fault.loss === "perhaps ran") {
        // The caller must not keep a controller that later requests, for which others wait, may reuse.
        exchange.close();
        await within(this.#session.lookAfter(request.peer), null, request.signal, () => {});
        return fault.hand();
      }
    } finally {
      exchange.close();
      this.#open.delete(node);
    }
    await whileWanted(request, this.#session.renew(exchange.session));
    await request.prepare?.();
    return this.#request(request, true);
  }

  async notify(method: string, params: string | null, peer: Peer): Promise<void> {
    if (peer.era !== "legacy") return;
    const place = { peer, session: this.#wire.session };
    await this.#courtesy(method, notificationText(method, params), place);
    if (method === "notifications/initialized" && !this.over) this.#session.listen(peer);
  }

  fail(reason: string): void {
    this.#finish({ expected: false, reason });
  }

  close(): Promise<void> {
    this.#finish({ expected: true, reason: "it was stopped" });
    return this.#gone;
  }

  #finish(end: End): void {
    if (this.over) return;
    this.over = end;
    this.#session.close();
    this.#courtesies.close();
    for (const { controller } of this.#open.items) controller.abort();
    this.#ended.resolve(end);
  }

  #prepare(request: LinkRequest): HttpExchange {
    if (this.over) throw faults.down(this.host.server, this.over.reason);
    if (request.signal.aborted) throw faults.cancelled();
    const id = ++this.#last;
    const session = request.peer.era === "legacy" && request.method !== "initialize" ? this.#wire.session : null;
    return new HttpExchange(id, request, session, this.#unused.pop() ?? new AbortController());
  }

  /** Returns the failure of a request without an answer. If its caller gave up, the server is notified. */
  #faultOf(error: unknown, exchange: HttpExchange): Error {
    const { server } = this.host;
    const { request, id, gaveUp } = exchange;
    // Checked first, because a caller that ends its session gives up and ends the link as well.
    if (gaveUp) {
      const late = gaveUp === "timeout";
      const params = cancelledParams(String(id), request.signal.reason, late ? "timed out" : "cancelled");
      if (request.method !== "initialize") void this.notify("notifications/cancelled", params, request.peer);
      return late ? faults.timeout(server, exchange.limit) : faults.cancelled();
    }
    if (this.over) return faults.lost(server, this.over.reason);
    return error instanceof Failure || error instanceof SessionLost
      ? error
      : faultOfError(this.host, error, this.#proxy);
  }

  async #read(response: Response, exchange: HttpExchange): Promise<Answer> {
    const { server } = this.host;
    const { request } = exchange;
    const { status, headers } = response;
    if (request.method === "initialize" && status < 300) this.#wire.openSession(headers.get("mcp-session-id"));
    if (isEventStream(response)) {
      this.#session.note(status, exchange);
      return readRequestStream(response, exchange, this.#context);
    }
    // Only JSON can contain an error of the request itself; other bodies need not be read to the end.
    const loss = isGone(status) && !isType(headers, "application/json") ? exchange.lossIn(status, "") : null;
    if (loss !== null) {
      discard(response);
      throw new SessionLost(refusesNewSession(server), loss);
    }
    if (status === 401 || status === 403 || (status >= 300 && status < 400)) {
      const refused = exchange.lossIn(status, await shortText(response, maxWordsLength));
      const fault = faultOfStatus(this.host, response, "");
      if (refused !== null) throw new SessionLost(fault, refused);
      this.#session.note(status, exchange);
      throw fault;
    }
    return this.#answer(await readText(response, this.host, request.purpose), response, exchange);
  }

  #answer(text: string, response: Response, exchange: HttpExchange): Answer {
    const { status, headers } = response;
    const { request } = exchange;
    const { server } = this.host;
    const answer = isType(headers, "application/json") ? this.#answerIn(text, exchange, status) : null;
    const large = answer && tooLarge(answer, this.host);
    if (large) throw large;
    const loss = exchange.lossIn(status, answer ?? text);
    if (loss !== null) {
      const isOwn = answer?.kind === "error" && answer.idText !== null;
      const said =
        isGone(status) && !isOwn ? refusesNewSession(server) : (answer ?? faultOfStatus(this.host, response, text));
      throw new SessionLost(said, loss);
    }
    // A server that does not know the method has accepted the session: some servers have no ping.
    const isRead = answer?.kind === "error" && answer.code === rpcCodes.methodNotFound;
    this.#session.note(isRead ? 200 : status, exchange);
    // The error of a broken server says nothing about what it speaks.
    if (answer === null || (status >= 500 && handshakes.has(request.method)))
      throw faultOfStatus(this.host, response, text);
    // A server that asks the gateway to wait has not answered it; a caller gets the server's own text.
    if (answer.kind === "error" && !exchange.isCall && request.method !== "resources/subscribe") {
      const fault = faultOfStatus(this.host, response, answer.message);
      if (isNotServerFault(fault)) throw fault;
    }
    return answer;
  }

  /** Returns the answer in a JSON body; null if the body does not answer this request. */
  #answerIn(text: string, { id, session, doubt, isOwn }: HttpExchange, status: number): Answer | null {
    const host = isOwn ? { ...this.host, limits: this.host.ownLimits } : this.host;
    const message = readUpstream(text, host.limits());
    // Nearly every body is the result itself; the rest handles servers that answer differently.
    if (message.kind === "result" && message.idText === String(id)) return message;
    type Heard = { answer: Answer | null; fault: Failure | null; own: boolean };
    const heard: Heard = { answer: null, fault: null, own: false };
    deliver(message, text, host, {
      // An error without an id can only be about the one request that this body answers.
      answer: (idText, answer) => {
        if (idText === null || idText === String(id)) heard.answer = answer;
        else this.host.dropped("an answer to an unknown request");
      },
      broken: (idText, why) => {
        heard.fault = why;
        heard.own = idText === String(id);
      },
      find: () => undefined,
      issued: () => false,
      stray: this.host.dropped,
      unrelated: () => {},
      delivered: () => {},
      open: () => [],
      reply: () => {},
    });
    if (heard.fault !== null) {
      if (!isGone(status) || session === null) throw heard.fault;
      // A server may report an unknown session in any form, but an error under the request's id may mean anything.
      if (heard.own) throw new SessionLost(heard.fault, doubt);
    }
    return heard.answer;
  }

  /** Sends a message that needs no answer. */
  async #courtesy(kind: string, text: string, place: Place): Promise<void> {
    if (!this.over) await this.#courtesies.send(kind, text, place);
  }
}
