/**
 * Creates a counter: each call adds an amount (default 1) and returns the sum of the current window. A window lasts
 * `length`, in the unit of `now`, and begins with the first amount after the previous window.
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
