import type { AbortSignalLike } from "../../core/cancel.ts";
import { Failure } from "../../core/failure.ts";

/**
 * Makes the function that begins each work once that before it is done: for what keeps the thread of the calls busy, so
 * that whoever asks for it again and again holds up no call. Those who wait are served in turn, one work of each, so
 * that nobody keeps the others from it either. What nobody waits for any more is not begun.
 */
export function oneAtATime() {
  /** The ways to begin what waits, by owner; the first owner is the next. */
  const waiting = new Map<string, (() => void)[]>();
  let busy = false;

  const beginNext = (): void => {
    const [next] = waiting;
    busy = next !== undefined;
    if (!next) return;
    const [owner, own] = next;
    const begin = own.shift();
    waiting.delete(owner);
    if (own.length > 0) waiting.set(owner, own);
    begin?.();
  };

  /** `owner`: a principal, or a user of this host. */
  return <T>(owner: string, signal: AbortSignalLike, work: () => Promise<T>): Promise<T> => {
    const turn = Promise.withResolvers<void>();
    if (busy) waiting.getOrInsertComputed(owner, () => []).push(turn.resolve);
    else turn.resolve();
    busy = true;
    const own = turn.promise.then(() => {
      if (signal.aborted) throw new Failure("cancelled", "It was given up before its turn came.");
      return work();
    });
    void own.catch(() => {}).finally(beginNext);
    return own;
  };
}
