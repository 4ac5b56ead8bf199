/** Time and identity, injected so that tests can hold them still. */
export type Clock = {
  /** Wall clock, µs since the epoch. */
  now(): number;
  /** Monotonic clock, µs; for durations, limits and time-outs. */
  mono(): number;
};

export const systemClock: Clock = {
  // Date.now() follows steps of the system clock, performance.timeOrigin would not.
  now: () => Date.now() * 1000,
  mono: () => Math.round(performance.now() * 1000),
};

/**
 * Makes the function that tells by its lateness whether a timer was held up with the whole process, so that what came
 * meanwhile has to be read first. Never twice in a row: where every timer is late, what waits must end all the same.
 */
export function heldUpBy(most: number): (late: number) => boolean {
  let heldUp = false;
  return (late) => (heldUp = !heldUp && late > most);
}

/** By how much too late a timer fires that was held up with the whole process, ms. */
export const heldUpMs = 250;
/** The time for reading what came meanwhile: timers fire before that is read; ms. */
export const readingMs = 1_000;

/** The longest time that a timer can wait, ms; it does not wait at all for a longer one. */
export const longestTimer = 2 ** 31 - 1;

/**
 * Calls `work` after `ms`, unless the function is called that it returns. After the whole process was held up what came
 * meanwhile is read first.
 */
export function after(ms: number, work: () => void): () => void {
  const due = performance.now() + Math.max(0, ms);
  const look = (): void => {
    if (performance.now() - due <= heldUpMs) work();
    else timer = setTimeout(work, readingMs);
  };
  let timer = setTimeout(look, Math.min(ms, longestTimer));
  return () => clearTimeout(timer);
}

/**
 * Calls `look` every `ms`, not keeping the process alive. After the whole process was held up it leaves one out: what
 * came meanwhile, which shows that something is in use, is read only after timers have fired.
 */
export function lookEvery(ms: number, look: () => void): Timer {
  const isHeldUp = heldUpBy(heldUpMs);
  let due = performance.now() + ms;
  return setInterval(() => {
    const now = performance.now();
    const isLate = isHeldUp(now - due);
    due = now + ms;
    if (!isLate) look();
  }, ms).unref();
}
