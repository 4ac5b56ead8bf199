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

/** By how much too late a regular look then comes, ms. */
const late = 250;

/**
 * Calls `look` every `ms`, not keeping the process alive. After the whole process was held up it leaves one out: what
 * came meanwhile, which shows that something is in use, is read only after timers have fired.
 */
export function lookEvery(ms: number, look: () => void): Timer {
  const isHeldUp = heldUpBy(late);
  let due = performance.now() + ms;
  const timer = setInterval(() => {
    const now = performance.now();
    const isLate = isHeldUp(now - due);
    due = now + ms;
    if (!isLate) look();
  }, ms);
  return timer.unref();
}
