import { after } from "../../core/clock.ts";
import { maxQuestionLength } from "../../core/inbound.ts";
import { plainId } from "../../mcp/message.ts";
import type { Exchange } from "./exchange.ts";
import { maxOpenQuestions, type Question } from "./question-context.ts";

/**
 * Maximum wait of the first question, ms. The official SDKs give up requests after 60 s, including a server's
 * questions: half of that is left for the person who answers.
 */
const maxMs = 30_000;

/** Receives the call that a question is about; null if that cannot be determined. */
type Resolve = (call: Exchange | null) => void;
type Waiting = { readonly among: Set<Exchange>; readonly stopTimer: () => void; readonly resolve: Resolve };

/**
 * A server's questions that name no call and arrived while several calls ran. Such a question is about one of these. It
 * waits until the server has answered all but one, which then is the one that waits for the answer: a server that
 * answers a call without its question withdraws the question first.
 *
 * A call with an open question may ask again, for example if it samples several texts at once. So it counts as well.
 */
export class AmbiguousQuestions {
  readonly #questions = new Map<string, Waiting>();

  /** Lets a question wait that is about one of these calls; false if it need not wait or there is no room for it. */
  add({ idText, params }: Question, calls: readonly Exchange[], resolve: Resolve): boolean {
    const id = plainId(idText);
    const { size } = this.#questions;
    if (!calls.some(({ askable }) => askable) || size >= maxOpenQuestions || this.#questions.has(id)) return false;
    if (params.length > maxQuestionLength) return false;
    // No call may time out because its question waits.
    const patience = Math.min(maxMs, ...calls.map(({ request: { timeout } }) => (timeout ?? Infinity) / 2));
    for (const call of calls) call.hear();
    // Each question waits a little longer than the one before it, whose refusal may end a call and so leave only one.
    const stopTimer = after(patience * (1 + size / maxOpenQuestions), () => this.#end(id, null));
    this.#questions.set(id, { among: new Set(calls), stopTimer, resolve });
    return true;
  }

  /**
   * Records that a call has ended. Without the server's answer, the call may still run there, so the questions that may
   * be about it can no longer be assigned.
   */
  ended(call: Exchange, answered: boolean): void {
    for (const [id, { among }] of this.#questions) {
      if (!among.delete(call)) continue;
      const [last = null, ...others] = among;
      if (!answered) this.#end(id, null);
      else if (others.length === 0) this.#end(id, last);
    }
  }

  /** Drops the question with this id; false if there is none. */
  withdraw(idText: string): boolean {
    return this.#take(plainId(idText)) !== null;
  }

  /** Drops all questions, since the server is gone. */
  close(): void {
    for (const id of this.#questions.keys()) this.#take(id);
  }

  #end(id: string, call: Exchange | null): void {
    this.#take(id)?.resolve(call);
  }

  #take(id: string): Waiting | null {
    const waiting = this.#questions.get(id);
    if (!waiting) return null;
    waiting.stopTimer();
    this.#questions.delete(id);
    return waiting;
  }
}
