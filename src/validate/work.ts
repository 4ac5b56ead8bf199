/** The arguments are too big or too nested for their schema to be checked in bounded time. */
export class TooComplex extends Error {}

let left = 0;

/** Begins a piece of work that may take this many steps, each of at most about 25 ns. Nothing else works meanwhile. */
export function allowSteps(steps: number): void {
  left = steps;
}

/** Counts steps before they are taken. Throws TooComplex if they are too many. */
export function spend(steps: number): void {
  if ((left -= steps) < 0) throw new TooComplex();
}
