import { Decimal } from "decimal.js";

/** A mistake by the caller; the message says what to change. */
export class CalculatorError extends Error {}

export const maxOperands = 1000;

// Within these limits, no result of any operator can overflow or vanish, and exact sums stay below 4,000 digits.
const maxLength = 1000;
const maxExponent = 1000;
const maxTotal = 100_000;

const decimal = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,5}))?$/;

/** Returns decimal.js with its own precision and rounding; numbers below 1e1000 are written out in full. */
export function context(precision: number, rounding: Decimal.Rounding = Decimal.ROUND_HALF_EVEN): typeof Decimal {
  return Decimal.clone({ defaults: true, precision, rounding, toExpPos: 1000, toExpNeg: -1000 });
}

/** Number of digits that a binary fraction preserves for every decimal fraction. */
const maxFractionDigits = 15;

/** Reports whether a JSON number may have lost digits when it was parsed. */
const isRounded = (value: number): boolean =>
  Number.isInteger(value)
    ? !Number.isSafeInteger(value)
    : String(value)
        .replace(/e.*|\D/g, "")
        .replace(/^0+/, "").length > maxFractionDigits;

/** Reads one operand as it was written; refuses a JSON number that may have been changed by parsing. */
export function readNumber(value: string | number): Decimal {
  if (typeof value === "number" && isRounded(value)) {
    throw new CalculatorError(`${value} is beyond what a JSON number holds exactly; send it as a string`);
  }
  const text = String(value).trim();
  if (text.length > maxLength) throw new CalculatorError(`an operand has over ${maxLength} characters`);
  const match = decimal.exec(text);
  if (!match)
    throw new CalculatorError(
      `${JSON.stringify(text.slice(0, 40))} is not a decimal number; write for example "12.50" or "1e-3"`,
    );
  if (Math.abs(Number(match[1] ?? 0)) > maxExponent) {
    throw new CalculatorError(`the exponent of ${text.slice(0, 40)} is over ${maxExponent}`);
  }
  return new Decimal(text);
}

/** Reads a list of operands, bounded in total length. */
export function readNumbers(values: readonly (string | number)[]): Decimal[] {
  const characters = values.reduce<number>((sum, value) => sum + String(value).length, 0);
  if (characters > maxTotal) throw new CalculatorError(`the operands together have over ${maxTotal} characters`);
  return values.map(readNumber);
}

/** Adds numbers without rounding. */
export function exactSum(numbers: readonly Decimal[]): Decimal {
  const nonzero = numbers.filter((number) => !number.isZero());
  const highest = Math.max(0, ...nonzero.map(({ e }) => e));
  const lowest = Math.min(0, ...nonzero.map((number) => -number.decimalPlaces()));
  const wide = context(highest - lowest + String(numbers.length).length + 2);
  return numbers.reduce((sum, number) => wide.add(sum, number), new wide(0));
}

/** Multiplies two numbers without rounding. */
export function exactProduct(a: Decimal, b: Decimal): Decimal {
  return context(a.precision() + b.precision()).mul(a, b);
}
