import type { AbortSignalLike } from "./cancel.ts";
import { after } from "./clock.ts";

/** Why a wait ended before its promise settled. */
type Over = "late" | "aborted";

/**
 * Resolves like `promise`, or with the result of `over` (which may throw) if `ms` pass (null: no limit) or the signal
 * fires first. Leaves neither a timer nor a listener behind.
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

/** Milliseconds between two attempts. */
const retry = 20;

/** Repeats `attempt` until it returns something or `ms` have passed; then returns null. */
export async function retryUntil<T>(attempt: () => T | null, ms: number): Promise<T | null> {
  const end = performance.now() + ms;
  for (;;) {
    const given = attempt();
    if (given !== null || performance.now() >= end) return given;
    await Bun.sleep(retry);
  }
}

/** Resolves after `ms`, or at once if the signal fires. */
export const sleep = (ms: number, signal: AbortSignalLike): Promise<void> =>
  within(new Promise<void>(() => {}), ms, signal, () => {});
