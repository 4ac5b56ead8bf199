import type { AbortSignalLike } from "../../core/cancel.ts";
import { Failure } from "../../core/failure.ts";

/**
 * Makes the function that begins each work once all that it was given before is done: for what keeps the thread of the
 * calls busy, so that whoever asks for it again and again holds up no call. What nobody waits for any more is not
 * begun.
 */
export function oneAtATime() {
  let before: Promise<unknown> = Promise.resolve();
  return <T>(signal: AbortSignalLike, work: () => Promise<T>): Promise<T> => {
    const own = before.then(() => {
      if (signal.aborted) throw new Failure("cancelled", "It was given up before its turn came.");
      return work();
    });
    before = own.catch(() => {});
    return own;
  };
}
