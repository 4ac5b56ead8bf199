import type { AbortSignalLike } from "../../core/cancel.ts";
import { Failure } from "../../core/failure.ts";

/**
 * Returns a queue that runs one task at a time, so that tasks that occupy the main thread cannot crowd out calls.
 * Owners take turns, one task each, so that none blocks the others. A task whose signal has fired is not started.
 */
export function createTurnQueue() {
  /** Start functions of waiting tasks by owner, in the order of turns. */
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

  /** Runs `work` in turn. `owner` is a principal or a user of this host. */
  return <T>(owner: string, signal: AbortSignalLike, work: () => Promise<T>): Promise<T> => {
    const turn = Promise.withResolvers<void>();
    if (busy) waiting.getOrInsertComputed(owner, () => []).push(turn.resolve);
    else turn.resolve();
    busy = true;
    const own = turn.promise.then(() => {
      if (signal.aborted) throw new Failure("cancelled", "The request was canceled before its turn came.");
      return work();
    });
    void own.catch(() => {}).finally(beginNext);
    return own;
  };
}
