import type { AbortSignalLike } from "./cancel.ts";
import { after } from "./clock.ts";

/** Why a wait ended before its promise settled. */
type Over = "late" | "aborted";

/**
 * The value of a promise, or that of `over` (which may throw) if `ms` pass first (null: no limit) or the signal ends.
 * Leaves neither a timer nor a listener behind.
 */
export async function within<T, E>(
  promise: Promise<T>,
  ms: number | null,
  signal: AbortSignalLike | null,
  over: (why: Over) => E,
): Promise<T | E> {
  const { promise: ended, resolve } = Promise.withResolvers<Over>();
  const stop = ms === null ? null : after(ms, () => resolve("late"));
  const abort = (): void => resolve("aborted");
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  try {
    return await Promise.race([promise, ended.then(over)]);
  } finally {
    stop?.();
    signal?.removeEventListener("abort", abort);
  }
}

/** Ms between two attempts. */
const retry = 20;

/** What an attempt gives, which is made again and again until it gives something or `ms` have passed; then null. */
export async function untilGiven<T>(attempt: () => T | null, ms: number): Promise<T | null> {
  const end = performance.now() + ms;
  for (;;) {
    const given = attempt();
    if (given !== null || performance.now() >= end) return given;
    await Bun.sleep(retry);
  }
}

/** Resolves after `ms`, or at once when the signal ends. */
export const sleep = (ms: number, signal: AbortSignalLike): Promise<void> =>
  within(new Promise<void>(() => {}), ms, signal, () => {});
