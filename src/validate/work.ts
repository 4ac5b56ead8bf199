/** The arguments are too big or too nested for their schema to be checked in bounded time. */
export class TooComplex extends Error {}

const stepsPerMs = 40_000;

let left = 0;

/**
 * Begins a piece of work that may take this many steps, each of at most about 25 ns (`stepsPerMs`). Nothing else works
 * meanwhile.
 */
export function allowSteps(steps: number): void {
  left = steps;
}

/**
 * Counts the time that something took, ms: where the most that it may take says little of what it takes. Of the
 * processor, so that nothing is refused because the process was held up.
 */
export function spendTime(ms: number): void {
  spend(Math.ceil(ms * stepsPerMs));
}

/** Counts steps before they are taken. Throws TooComplex if they are too many. */
export function spend(steps: number): void {
  if ((left -= steps) < 0) throw new TooComplex();
}
