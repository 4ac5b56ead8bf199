import { type AbortSignalLike, Cancel, onAbort, Withdrawn } from "../../core/cancel.ts";
import type { Call, Reply, Route, RoutedCall } from "../../core/call.ts";
import { asFailure, Failure } from "../../core/failure.ts";
import { type ClientAnswer, type InputRequest, maxQuestionLength, weightOf } from "../../core/inbound.ts";
import type { Policy } from "../../core/ports.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { copied } from "../../core/text.ts";
import { type Asked, maxQuestions } from "../../mcp/input-round.ts";
import { forNextHop } from "../../mcp/meta.ts";
import { specOf } from "../../mcp/methods.ts";
import { underToken } from "../../mcp/reply.ts";
import { conclude } from "../conclude.ts";
import type { Gateway } from "../gateway.ts";
import { checkAnswer } from "./client-answers.ts";
import type { ParkedCall } from "./parking.ts";
import { admitAll, answeredStep, refusalAnswer, refusalTo, refusedStep } from "./asking.ts";
import { type Retry, roundReply } from "./retry.ts";
import { endOnLoss, failureOf } from "../revocation.ts";

/** A question that was or will be sent to the caller. It is answered with a failure if it cannot be sent. */
type Question = Asked & { readonly answered: (answer: ClientAnswer | Failure) => void };
/** The caller's request, which waits for the next reply. */
type Waiting = { readonly call: RoutedCall; resolve(reply: Reply): void; reject(failure: Failure): void };

/** Maximum length of a result that is kept until an absent caller comes back, in characters. */
const maxKeptLength = 256 * 1024;
const gone: ClientAnswer = {
  kind: "error",
  text: JSON.stringify({ code: rpcCodes.internalError, message: "The call has ended." }),
};

/** Reports whether this call's caller can be asked in rounds. */
export function answersInRounds({ inbound, capabilities: { value } }: Call): boolean {
  const declares = (value.elicitation ?? value.sampling ?? value.roots) !== undefined;
  return inbound.era === "modern" && declares && specOf(inbound.method)?.inRounds === true;
}

/** Continues a waiting call of this caller. Throws `lost` if it no longer waits. */
export async function resume(
  gw: Gateway,
  call: RoutedCall,
  { id, responses }: Extract<Retry, { kind: "parked" }>,
): Promise<Reply> {
  const parked = gw.parking.find(id, call.who.id);
  if (!parked) throw noLongerWaits();
  // The first request stays in memory as long as the call runs.
  const leave = gw.limits.carry(call.who, parked.weight);
  try {
    return await parked.resume(call, responses, gw.policy);
  } finally {
    leave();
  }
}

/**
 * A call whose caller answers in rounds: the request to the server stays open between the caller's requests. All rounds
 * form one call, the whole, with one begin and one end record.
 *
 * In each round, a request of the caller waits until the call ends or its server asks something. In the latter case,
 * the request is answered with the questions, and the call is parked until the next request brings the answers.
 */
export class Rounds implements ParkedCall {
  readonly owner: string;
  route: Route;
  scope: string | null;
  readonly #gw: Gateway;
  readonly #whole: RoutedCall;
  /** The unanswered questions, by key. */
  readonly #questions = new Map<string, Question>();
  /** Resolves when the end of the call is recorded. */
  #concluded: Promise<void> = Promise.resolve();
  #waiting: Waiting | null = null;
  /** The id of the call while it is parked. */
  #parkedId: string | null = null;
  #ended = false;
  #expired: Failure | null = null;
  #serial = 0;
  /** Number of questions that are being recorded; questions that arrive together are asked together. */
  #arriving = 0;

  constructor(gw: Gateway, call: RoutedCall) {
    this.owner = call.who.id;
    this.#gw = gw;
    this.route = call.route;
    this.scope = call.scope;
    this.#whole = call.detached(new Cancel(), (notification) => this.#emit(notification));
  }

  get weight(): number {
    let sum = weightOf(this.#whole.inbound);
    for (const { request } of this.#questions.values()) sum += request.params.length;
    return sum;
  }

  /** Runs the call with `make`. Resolves with the reply to its first request. */
  start(call: RoutedCall, make: (whole: RoutedCall) => Promise<Reply>): Promise<Reply> {
    this.#whole.input = (request, signal) => this.#ask(request, signal);
    const reply = this.#awaitReply(call);
    this.#concluded = this.#run(make);
    return reply;
  }

  /** Passes answers on; resolves with the next reply. Throws `invalid-params` or `denied`, with nothing changed. */
  resume(call: RoutedCall, responses: ReadonlyMap<string, string>, policy: Policy): Promise<Reply> {
    const given = [...this.#questions.values()].flatMap(({ key, request: { method }, answered }) => {
      const text = responses.get(key);
      return text === undefined ? [] : [{ key, method, text, answered }];
    });
    for (const each of given) checkAnswer(policy, call, this.route.server, each);
    if (this.#parkedId !== null) this.#gw.parking.release(this.#parkedId);
    this.#parkedId = null;
    for (const { key, text, answered } of given) {
      this.#questions.delete(key);
      answered({ kind: "result", text });
    }
    return this.#awaitReply(call);
  }

  /** Ends the call because its caller did not come back or the gateway stops. */
  expire(failure: Failure): Promise<void> {
    this.#parkedId = null;
    this.#expired ??= failure;
    this.#whole.controller.abort();
    return this.#concluded;
  }

  async #run(make: (whole: RoutedCall) => Promise<Reply>): Promise<void> {
    const whole = this.#whole;
    const unwatch = endOnLoss(whole.who.revoked, whole.controller);
    try {
      whole.reply = await make(whole);
    } catch (error) {
      whole.failure = failureOf(whole, this.#expired ?? error);
    }
    unwatch();
    whole.input = null;
    await conclude(this.#gw, whole);
    this.#ended = true;
    for (const { answered } of this.#questions.values()) answered(gone);
    this.#questions.clear();
    if (this.#parkedId !== null) this.#forgetWhileAway(this.#parkedId);
    this.#answerWaiting();
  }

  /** Keeps a result for an absent caller, unless it is too large, there is no room, or the caller loses its rights. */
  #forgetWhileAway(parkedId: string): void {
    const whole = this.#whole;
    const { parking } = this.#gw;
    parking.releaseOnLoss(parkedId, whole.who.revoked);
    const { reply } = whole;
    const length = reply?.text.length ?? 0;
    try {
      if (length <= maxKeptLength) {
        parking.grow(parkedId, length);
        // Copied, because it may be a slice of a much longer message.
        whole.reply = reply && { ...reply, text: copied(reply.text) };
        return;
      }
    } catch {
      // No room is left.
    }
    whole.reply = null;
    whole.failure = new Failure(
      "result-too-large",
      "The call ended while its caller was away, and its result was too large to keep or there was no room for it. The call did run.",
    );
  }

  /** Makes a request of the caller wait for the next reply. If the client cancels this request, the whole call ends. */
  async #awaitReply(call: RoutedCall): Promise<Reply> {
    call.whole = this.#whole;
    this.route = call.route;
    this.scope = call.scope;
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    const { signal } = call.controller;
    const abort = (): void => {
      const { reason } = signal;
      this.#whole.controller.abort(typeof reason === "string" || reason instanceof Withdrawn ? reason : undefined);
    };
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    this.#waiting = { call, resolve, reject };
    this.#answerWaiting();
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Answers the waiting request if the call has ended or there are questions. */
  #answerWaiting(): void {
    const waiting = this.#waiting;
    if (!waiting || (!this.#ended && (this.#questions.size === 0 || this.#arriving > 0))) return;
    this.#waiting = null;
    const { reply, failure } = this.#whole;
    if (!this.#ended) this.#park(waiting);
    else if (reply) waiting.resolve(reply);
    else waiting.reject(failure ?? asFailure("no answer"));
  }

  #park(waiting: Waiting): void {
    const { call } = waiting;
    try {
      // The capabilities in this request, or a reload since the question came, may forbid the question.
      this.#refuse((request) => refusalTo(this.#gw, call, request));
      if (this.#questions.size === 0) return void (this.#waiting = waiting);
      const id = (this.#parkedId = this.#gw.parking.park(this));
      waiting.resolve(roundReply(this.#gw, call, [...this.#questions.values()], { kind: "parked", id }));
    } catch (error) {
      this.#waiting = waiting;
      this.#refuse(() => asFailure(error));
    }
  }

  /** Drops the questions for which `why` returns a failure. */
  #refuse(why: (request: InputRequest) => Failure | null): void {
    for (const { key, request, answered } of this.#questions.values()) {
      const failure = why(request);
      if (!failure) continue;
      this.#questions.delete(key);
      answered(failure);
    }
  }

  /** Asks the caller a server's question, and resolves with the answer when the caller comes back. Never throws. */
  async #ask(request: InputRequest, signal: AbortSignalLike): Promise<ClientAnswer> {
    if (this.#questions.size + this.#arriving >= maxQuestions) return this.#recorded(request, tooMany());
    if (request.params.length > maxQuestionLength) return this.#recorded(request, tooLong());
    let answer: Promise<ClientAnswer | Failure>;
    this.#arriving++;
    try {
      await admitAll(this.#gw, this.#whole, [{ request }]);
      answer = this.#put(request, signal);
    } catch (error) {
      return refusalAnswer(error, this.#gw.log);
    } finally {
      this.#arriving--;
      this.#answerWaiting();
    }
    return this.#recorded(request, await answer.catch(asFailure));
  }

  /** Records an answer, or why there is none, before it goes to the server. */
  async #recorded(request: InputRequest, answer: ClientAnswer | Failure): Promise<ClientAnswer> {
    if (answer === gone) return answer;
    try {
      if (answer instanceof Failure) {
        // Other failures do not mean that there was no place for the question.
        if (answer.code === "overloaded" || answer.code === "input-unavailable") this.#gw.parking.refused++;
        await this.#gw.audit.input(this.#whole, refusedStep(request, answer));
        return refusalAnswer(answer, this.#gw.log);
      }
      await this.#gw.audit.input(this.#whole, answeredStep(request, answer));
      return answer;
    } catch (error) {
      return refusalAnswer(error, this.#gw.log);
    }
  }

  /** Makes a question wait for its answer. Throws `overloaded` if there is no room for it. */
  async #put({ method, params }: InputRequest, signal: AbortSignalLike): Promise<ClientAnswer | Failure> {
    if (this.#ended || signal.aborted) return gone;
    const { promise, resolve } = Promise.withResolvers<ClientAnswer | Failure>();
    const key = `${method}-${++this.#serial}`;
    const question = { key, request: { method, params: forNextHop(params, "progressToken") }, answered: resolve };
    const weight = question.request.params.length;
    if (this.#parkedId !== null) this.#gw.parking.grow(this.#parkedId, weight);
    // Drops a question that the server withdraws.
    const withdraw = (): void => {
      if (this.#questions.delete(key) && this.#parkedId !== null) this.#gw.parking.grow(this.#parkedId, -weight);
      resolve(gone);
    };
    this.#questions.set(key, question);
    return promise.finally(onAbort(signal, withdraw));
  }

  /** Sends progress and log messages to the waiting request under its own token; drops them if no request waits. */
  #emit(notification: string): void {
    const call = this.#waiting?.call;
    const text = call?.emit ? underToken(notification, call.inbound) : null;
    if (text !== null) call?.emit?.(text);
  }
}

// The id of a parked call works only once. After that, it is not known whether the call was answered, ended or lost.
const noLongerWaits = (): Failure =>
  new Failure(
    "lost",
    "The call no longer waits for these answers: it was already answered, has ended, or was lost when the gateway stopped. It may have run: check before you make it again.",
  );
const tooLong = (): Failure =>
  new Failure("input-unavailable", `A question may have no more than ${maxQuestionLength} characters.`);
const tooMany = (): Failure =>
  new Failure("input-unavailable", `No more than ${maxQuestions} questions of one call can wait for its caller.`);
