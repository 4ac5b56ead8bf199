import { Decimal } from "decimal.js";
import { context, exactProduct, exactSum, readNumbers } from "./number.ts";
import type { Statistics } from "./options.ts";

/** Computes the statistics of at least one number; sums are exact, and each figure is rounded once, half to even. */
export function describe(values: readonly (string | number)[], precision: number): Statistics {
  const D = context(precision);
  const show = (number: Decimal): string => new D(number).toSignificantDigits(precision).toString();
  const numbers = readNumbers(values).toSorted((a, b) => a.cmp(b));
  const n = numbers.length;
  const sum = exactSum(numbers);
  // n·Σx² − (Σx)², which is n times the sum of squared deviations: exact, unlike a difference of rounded values.
  const squares = exactSum(numbers.map((number) => exactProduct(number, number)));
  const spread = exactSum([exactProduct(squares, new Decimal(n)), exactProduct(sum, sum).neg()]);
  const variance = (divisor: number): string => show(D.div(spread, n * divisor));
  const deviation = (divisor: number): string => show(rootOfQuotient(spread, n * divisor, precision + 2));
  return {
    count: n,
    sum: show(sum),
    mean: show(D.div(sum, n)),
    median: show(median(numbers, D)),
    mode: modes(numbers).map(show),
    min: show(D.min(...numbers)),
    max: show(D.max(...numbers)),
    variance: n > 1 ? variance(n - 1) : null,
    stdev: n > 1 ? deviation(n - 1) : null,
    populationVariance: variance(n),
    populationStdev: deviation(n),
  };
}

/**
 * Returns the square root of a quotient, truncated to `digits` digits, with a 1 appended if anything was cut off:
 * rounding that to fewer digits gives the correctly rounded root.
 */
function rootOfQuotient(dividend: Decimal, divisor: number, digits: number): Decimal {
  // This many digits of the quotient determine those of its root.
  const quotient = context(2 * digits, Decimal.ROUND_DOWN).div(dividend, divisor);
  const root = context(digits, Decimal.ROUND_DOWN).sqrt(quotient);
  if (exactProduct(exactProduct(root, root), new Decimal(divisor)).eq(dividend)) return root;
  return exactSum([root, new Decimal(`1e${root.e - digits}`)]);
}

function median(sorted: readonly Decimal[], D: typeof Decimal): Decimal {
  const middle = (sorted.length - 1) / 2;
  const pair = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]].filter((number) => number !== undefined);
  return D.div(exactSum(pair), 2);
}

function modes(sorted: readonly Decimal[]): Decimal[] {
  const groups: { value: Decimal; count: number }[] = [];
  for (const value of sorted) {
    const last = groups.at(-1);
    if (last?.value.eq(value)) last.count++;
    else groups.push({ value, count: 1 });
  }
  const most = groups.reduce((highest, { count }) => Math.max(highest, count), 0);
  return most === 1 ? [] : groups.filter(({ count }) => count === most).map(({ value }) => value);
}
