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
