/**
 * Counts within windows of time: adds an amount (1 if none is given) and returns the sum of the present window. A
 * window lasts `length`, in the unit of `now`, and begins with the first amount after the end of the one before.
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
