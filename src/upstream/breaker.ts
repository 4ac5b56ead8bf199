/** When something that keeps failing is tried again. Durations in ms. */
export type BreakerOptions = {
  /** Wait after the first failure; doubles with each further failure. */
  readonly first: number;
  readonly most: number;
  /** This many failures within `window` open the circuit. */
  readonly failures: number;
  readonly window: number;
  /** How long an open circuit waits before it lets one attempt through. */
  readonly rest: number;
};

export const defaultBreaker: BreakerOptions = { first: 1_000, most: 60_000, failures: 5, window: 60_000, rest: 60_000 };

/** Paces the restarts of one thing. It slows down but never gives up. */
export type Breaker = {
  /** Records a failure. Returns the wait in ms, whether the circuit is open, and whether this failure opened it. */
  failed(): { readonly wait: number; readonly open: boolean; readonly opened: boolean };
  /** Milliseconds until the next attempt is allowed; 0: now. */
  wait(): number;
  /** Forgets all failures, for an operator's restart. */
  reset(): void;
};

/** `mono` is in µs; `random` in [0, 1) keeps things that failed together from restarting together. */
export function createBreaker(options: BreakerOptions, mono: () => number, random = Math.random): Breaker {
  let recent: number[] = [];
  let streak = 0;
  let open = false;
  let until = 0;
  const now = (): number => mono() / 1000;
  const reset = (): void => {
    recent = [];
    streak = 0;
    open = false;
    until = 0;
  };
  return {
    failed() {
      const at = now();
      // A quiet window after the last wait resets the failure count, which also closes an open circuit.
      if (at - until > options.window) reset();
      recent = [...recent.filter((time) => at - time < options.window), at].slice(-options.failures);
      const opened = !open && recent.length === options.failures;
      open ||= opened;
      const base = open ? options.rest : Math.min(options.most, options.first * 2 ** streak);
      streak++;
      const wait = base * (1 + random() * 0.2);
      until = at + wait;
      return { wait, open, opened };
    },
    wait: () => Math.max(0, Math.ceil(until - now())),
    reset,
  };
}
