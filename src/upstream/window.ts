/**
 * Counts per window of time: adds an amount, 1 unless it is named, and returns the sum of the present window. A window of
 * `length` begins with the first amount after the one before; `now` counts in the same unit as `length`.
 */
export function createWindow(length: number, now: () => number): (amount?: number) => number {
  let sum = 0;
  let since = -Infinity;
  return (amount = 1) => {
    const time = now();
    if (time - since >= length) {
      since = time;
      sum = 0;
    }
    return (sum += amount);
  };
}
