import { after } from "../../core/clock.ts";
import { longestQuestion } from "../../core/inbound.ts";
import { plainId } from "../../mcp/message.ts";
import type { Exchange } from "./exchange.ts";
import { mostOpen, type Question } from "./question-context.ts";

/**
 * How long a question waits at most if no other waits before it, ms. The official SDKs give up requests after 60 s, a
 * server's questions too: half of that is left for the person who answers.
 */
const mostMs = 30_000;

/** Takes the call that a question is about; null when that cannot be known. */
type Resolve = (call: Exchange | null) => void;
type Waiting = { readonly among: Set<Exchange>; readonly stopTimer: () => void; readonly resolve: Resolve };

/**
 * The questions of a server that name no call and came while several ran. Such a question is about one of the calls
 * that ran when it came. It waits until the server has answered all but one of them: that one is left because it waits
 * for the answer. A server that answers a call without it withdraws the question before.
 *
 * A call that has a question open already may be the one that asks again, as one that samples several texts at once
 * does. So it counts as any other.
 */
export class AmbiguousQuestions {
  readonly #questions = new Map<string, Waiting>();

  /** Lets a question wait that is about one of these calls. False when it need not wait, or there is no room for it. */
  add({ idText, params }: Question, calls: readonly Exchange[], resolve: Resolve): boolean {
    const id = plainId(idText);
    const { size } = this.#questions;
    if (!calls.some(({ askable }) => askable) || size >= mostOpen || this.#questions.has(id)) return false;
    if (params.length > longestQuestion) return false;
    // No call may run out of time because its question waits.
    const patience = Math.min(mostMs, ...calls.map(({ request: { timeout } }) => (timeout ?? Infinity) / 2));
    for (const call of calls) call.hear();
    // Each waits a little longer than the one before it, whose call may end once it is refused, which leaves another.
    const stopTimer = after(patience * (1 + size / mostOpen), () => this.#end(id, null));
    this.#questions.set(id, { among: new Set(calls), stopTimer, resolve });
    return true;
  }

  /**
   * A call is over. One that ended without the server's answer may run on at the server, so nobody knows any more what
   * the questions are about that can be about it.
   */
  ended(call: Exchange, answered: boolean): void {
    for (const [id, { among }] of this.#questions) {
      if (!among.delete(call)) continue;
      const [last = null, ...others] = among;
      if (!answered) this.#end(id, null);
      else if (others.length === 0) this.#end(id, last);
    }
  }

  /** Drops the question of this id. False when there is no such question. */
  withdraw(idText: string): boolean {
    return this.#take(plainId(idText)) !== null;
  }

  /** The server is gone, and so are its questions. */
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
