/** The arguments are too large or too deeply nested for their schema to be checked in bounded time. */
export class TooComplex extends Error {}

const stepsPerMs = 40_000;

let left = 0;

/** Starts work of at most this many steps of up to about 25 ns (`stepsPerMs`). Nothing else runs until it ends. */
export function allowSteps(steps: number): void {
  left = steps;
}

/** Counts CPU time, ms, for work with a loose upper bound; wall time would penalize a held-up process. */
export function spendTime(ms: number): void {
  spend(Math.ceil(ms * stepsPerMs));
}

/** Counts steps before they are taken. Throws TooComplex if there are too many. */
export function spend(steps: number): void {
  if ((left -= steps) < 0) throw new TooComplex();
}
