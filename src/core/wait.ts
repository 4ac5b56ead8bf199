import type { AbortSignalLike } from "./cancel.ts";

/** The longest time of a timer, ms: a longer one is over at once. */
export const longestTimer = 2 ** 31 - 1;

/** What ended a wait before what was waited for came. */
type Over = "late" | "aborted";

/**
 * What a promise gives; `over` says what there is instead, or throws, after `ms` (null: no time is too long) and once
 * the signal ends. Leaves neither a timer nor a listener behind.
 */
export async function within<T, E>(
  promise: Promise<T>,
  ms: number | null,
  signal: AbortSignalLike | null,
  over: (why: Over) => E,
): Promise<T | E> {
  const { promise: ended, resolve } = Promise.withResolvers<Over>();
  const timer = ms === null ? undefined : setTimeout(resolve, Math.min(ms, longestTimer), "late");
  const abort = (): void => resolve("aborted");
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  try {
    return await Promise.race([promise, ended.then(over)]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** Resolves after `ms`, or at once when the signal ends. */
export const sleep = (ms: number, signal: AbortSignalLike): Promise<void> =>
  within(new Promise<void>(() => {}), ms, signal, () => {});
