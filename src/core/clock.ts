/** The time, injected so that tests can control it. */
export type Clock = {
  /** Wall clock, µs since the epoch. */
  now(): number;
  /** Monotonic clock, µs; for durations, limits and timeouts. */
  mono(): number;
};

export const systemClock: Clock = {
  // Date.now() follows steps of the system clock; performance.timeOrigin would not.
  now: () => Date.now() * 1000,
  mono: () => Math.round(performance.now() * 1000),
};

/**
 * Returns a function that decides from a timer's lateness (ms) whether the whole process was stalled, so that pending
 * input must be read first. It never returns true twice in a row: even if every timer is late, waits must end.
 */
export function stallDetector(most: number): (late: number) => boolean {
  let heldUp = false;
  return (late) => (heldUp = !heldUp && late > most);
}

/** The lateness of a timer, in ms, above which the whole process is taken to have been stalled. */
export const stallThresholdMs = 250;
/** The time to read pending input, in ms: after a stall, timers fire before input is read. */
export const readDelayMs = 1_000;

/** The maximum delay of a timer, in ms; with a longer one it fires at once. */
export const maxTimerMs = 2 ** 31 - 1;

/**
 * Calls `work` after `ms`, unless the returned function is called first. If the whole process was stalled, pending
 * input is read before `work` is called.
 */
export function after(ms: number, work: () => void): () => void {
  const due = performance.now() + Math.max(0, ms);
  const look = (): void => {
    if (performance.now() - due <= stallThresholdMs) work();
    else timer = setTimeout(work, readDelayMs);
  };
  let timer = setTimeout(look, Math.min(ms, maxTimerMs));
  return () => clearTimeout(timer);
}

/**
 * Calls `look` every `ms` without keeping the process alive. After a stall of the whole process it skips one call:
 * input that shows that something is in use is read only after timers have fired.
 */
export function lookEvery(ms: number, look: () => void): Timer {
  const isHeldUp = stallDetector(stallThresholdMs);
  let due = performance.now() + ms;
  return setInterval(() => {
    const now = performance.now();
    const isLate = isHeldUp(now - due);
    due = now + ms;
    if (!isLate) look();
  }, ms).unref();
}
