import type { Call } from "../core/call.ts";
import { onAbort } from "../core/cancel.ts";
import { Failure, failureFrom } from "../core/failure.ts";
import type { Inbound } from "../core/inbound.ts";
import type { Presented } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { mapInTurns } from "../core/turns.ts";
import { callOf } from "../gateway/call.ts";
import { refuse } from "../gateway/conclude.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { sessionNotFound } from "../gateway/handle.ts";
import type { Session } from "../session/session.ts";
import { prefersEvents, unacceptable } from "./accept.ts";
import { callToRefuse, isServed, notServed, tryIdentify } from "./admission.ts";
import { keepBatch } from "./batch-answers.ts";
import { credentialsOf, sourceOf } from "./credentials.ts";
import type { HttpContext, HttpRequest } from "./http-request.ts";
import { maySendMessages, mayOpenLate, PostStream, acceptsPriming } from "./post-stream.ts";
import { isStanding, receive, type Received, unreadable } from "./receive.ts";
import { answer, answerText } from "./reply.ts";
import { announce, runCall } from "./run-call.ts";
import { sessionOf } from "./session-endpoint.ts";
import { openSession } from "./session-records.ts";
import { bodyOf } from "./unread-body.ts";

type Arrival = Presented & {
  readonly vouched: Principal;
  readonly gw: Gateway;
  readonly request: HttpRequest;
  /** Monotonic µs. */
  readonly started: number;
  /** The session that the request names, if it belongs to the caller. */
  readonly session: Session | null;
};

/**
 * The POST of streamable HTTP, in both eras. Its message, or each message of its batch, becomes a call. It is answered
 * once all its calls have ended; if its `PostStream` was opened by then, the answer is the last event.
 */
export class PostEndpoint {
  readonly #context: HttpContext;

  constructor(context: HttpContext) {
    this.#context = context;
  }

  async post(request: HttpRequest): Promise<Response> {
    const { raw, ip, scope } = request;
    let gw = this.#context.current();
    const started = gw.clock.mono();
    const { headers } = raw;
    const sender = { source: sourceOf(headers, ip), credentials: credentialsOf(headers), vouched: null };
    const who = tryIdentify(gw, sender);
    if (who instanceof Failure) {
      return this.#turnAway(raw, async (text) => {
        const call = callToRefuse(gw, request, sender, text);
        await refuse(gw, call, who);
        return answer(call, answerText(call, gw.identity));
      });
    }
    const session = sessionOf(this.#context.sessions, headers, who, scope);
    const presented = { ...sender, vouched: who };
    if (!isServed(gw, scope, session, presented))
      return this.#turnAway(raw, (text) => notServed(gw, request, presented, text));
    const text = unacceptable(headers) ?? (await this.#context.bodies.read(raw, who.id));
    // A reload while the body was read applies to the message.
    gw = this.#context.current();
    const from: Arrival = { ...presented, gw, request, started, session };
    if (text instanceof Failure) return this.#answerOne(from, { inbound: unreadable(headers), fault: text });
    const received = receive(text, gw, { headers, pinned: null, revision: session?.revision ?? null });
    if (begins(from, received)) return notServed(gw, request, from, text);
    return Array.isArray(received) ? this.#answerBatch(from, received) : this.#answerOne(from, received);
  }

  /** Answers a caller that is refused; `respond` is given what was read of the body. */
  async #turnAway(raw: Request, respond: (text: string) => Promise<Response>): Promise<Response> {
    const { bodies, maxConnections } = this.#context;
    const text = await bodies.readUnauthenticated(raw, maxConnections);
    if (!(text instanceof Failure)) return respond(text);
    const response = await respond("");
    // The rest of a late body is not awaited.
    if (text.code === "body-timeout") response.headers.set("connection", "close");
    return response;
  }

  #answerOne(from: Arrival, given: Received): Promise<Response> {
    const { request } = from;
    const { raw } = request;
    const { headers } = raw;
    const received = unlessStale(from, given);
    const { inbound } = received;
    // A modern request has no session, even if it names one.
    const session = inbound.era === "legacy" ? from.session : null;
    const tells = maySendMessages(received, session, headers);
    const waits = mayOpenLate(received, headers);
    const stream = tells || waits ? new PostStream(from.vouched, session, this.#context) : null;
    const call = this.#callOf(from, received, session, tells ? stream : null);
    const { controller } = call;
    // Before 2026-07-28 a disconnect must not cancel the call. It may have come before the request's turn.
    if (inbound.era === "modern") onAbort(raw.signal, () => controller.abort());
    const ended = this.#run(from, call, session, stream);
    if (!stream) return ended;
    // If even its failure cannot be reported, the rejection must not end the process.
    ended.catch(() => {});
    if (waits) stream.openLater(request, ended);
    request.resumable = session !== null && acceptsPriming(session);
    if (session && prefersEvents(headers)) stream.open();
    return stream.response;
  }

  /** Runs each message as its own call and sends the answers together (2025-03-26, batching). */
  async #answerBatch(from: Arrival, all: readonly Received[]): Promise<Response> {
    const { gw, request, session, vouched } = from;
    const { headers } = request.raw;
    if (isStale(from, null)) return this.#answerOne(from, { inbound: unreadable(headers), fault: sessionNotFound() });
    announce(all, session);
    const stream = new PostStream(vouched, session, this.#context);
    const keep = keepBatch(gw);
    const answers: string[] = [];
    const run = async (one: Received): Promise<void> => {
      // Since the previous message the session may have ended, or the configuration may have been reloaded.
      const received = unlessStale(from, one);
      const now = this.#context.current();
      const tells = maySendMessages(received, session, headers);
      const call = this.#callOf({ ...from, gw: now }, received, session, tells ? stream : null);
      const text = await runCall(now, call, session, this.#context);
      this.#used(session);
      if (text === null || call.inbound.kind !== "request") return;
      if (stream.opened) stream.emit(text, true);
      else answers.push(keep(received.inbound, text));
    };
    const ended = mapInTurns(all, run)
      .then(() => {
        if (!stream.opened) return stream.respond(this.#together(vouched, answers));
        for (const one of answers) stream.emit(one, true);
        stream.close(null, gw.clock.mono());
      })
      .catch((error: unknown) => stream.fail(failureFrom(error, gw.log), null, gw.clock.mono()));
    ended.catch(() => {});
    if (all.some((one) => mayOpenLate(one, headers))) stream.openLater(request, ended);
    return stream.response;
  }

  #callOf(from: Arrival, received: Received, session: Session | null, stream: PostStream | null): Call {
    const { gw, started, request } = from;
    const { inbound } = received;
    const standing = isStanding(inbound);
    return callOf(gw, received, from, {
      controller: this.#context.running.add(standing),
      started,
      session,
      scope: request.scope,
      emit: stream?.emit ?? (standing || inbound.progressToken === null ? null : unheard),
      ask: stream && session ? (question, signal) => stream.ask(session, question, signal) : null,
      open:
        inbound.method === "initialize"
          ? (call, revision) => openSession(gw, this.#context.sessions, call, revision)
          : null,
    });
  }

  async #run(from: Arrival, call: Call, session: Session | null, stream: PostStream | null): Promise<Response> {
    const { gw } = from;
    const text = await runCall(gw, call, session, this.#context);
    try {
      this.#used(session);
      if (!stream?.opened) {
        const response = this.#responseTo(from, call, text);
        stream?.respond(response);
        return response;
      }
      stream.close(text, gw.clock.mono());
    } catch (error) {
      if (!stream) throw error;
      stream.fail(failureFrom(error, gw.log), call.inbound, gw.clock.mono());
    }
    return stream.response;
  }

  #responseTo(from: Arrival, call: Call, text: string | null): Response {
    if (call.inbound.kind !== "request" && !call.failure) return new Response(null, { status: 202 });
    const opened = call.opened && { "mcp-session-id": call.opened.id };
    return answer(call, text, opened, (body) => bodyOf(body, from.vouched, this.#context));
  }

  #together(who: Principal, answers: readonly string[]): Response {
    if (answers.length === 0) return new Response(null, { status: 202 });
    return new Response(bodyOf(`[${answers.join(",")}]`, who, this.#context), {
      headers: { "content-type": "application/json" },
    });
  }

  /** Restarts the idle time of a session at the end of a call, which may have run longer than the idle timeout. */
  #used(session: Session | null): void {
    if (session) this.#context.sessions.touch(session);
  }
}

/** Whether a message would begin a call at an endpoint that a reload removed, which serves only its running calls. */
const begins = ({ gw, request: { scope } }: Arrival, received: Received | Received[]): boolean =>
  scope !== null && !gw.catalog.hasScope(scope) && [received].flat().some(({ inbound }) => inbound.kind === "request");

/** Whether the request names a session that has ended, maybe while its body was read. The client must open another. */
function isStale({ request, session }: Arrival, inbound: Inbound | null): boolean {
  if ((session && !session.ended) || (inbound && (inbound.era === "modern" || inbound.method === "initialize")))
    return false;
  return request.raw.headers.has("mcp-session-id");
}

/** Returns the message, with a fault if its request names a session that has ended. */
const unlessStale = (from: Arrival, given: Received): Received =>
  given.fault || !isStale(from, given.inbound) ? given : { ...given, fault: sessionNotFound() };

/** Stands in for a client that cannot receive progress; the progress still shows that the server is working. */
const unheard = (): void => {};
