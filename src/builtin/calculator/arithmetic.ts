import { Decimal } from "decimal.js";
import { CalculatorError, context, exactProduct, exactSum, maxOperands, readNumbers } from "./number.ts";

type Context = typeof Decimal;
type Operator = {
  readonly least: number;
  readonly most: number;
  apply(context: Context, operands: readonly Decimal[]): Decimal;
  /** Reports whether the result is exact, for operators where rounding down and up cannot show it. */
  isExact?(result: Decimal, operands: readonly Decimal[]): boolean;
};

const maxPower = 1_000_000;
// Fractional powers are computed with logarithms, whose cost grows steeply with the number of digits.
const maxPowerPrecision = 100;

function binary(apply: (context: Context, a: Decimal, b: Decimal) => Decimal): Operator {
  return { least: 2, most: 2, apply: (D, [a = new D(0), b = new D(0)]) => apply(D, a, b) };
}

function unary(apply: (context: Context, a: Decimal) => Decimal): Operator {
  return { least: 1, most: 1, apply: (D, [a = new D(0)]) => apply(D, a) };
}

// Applies a step from left to right, rounding after each.
function chain(least: number, most: number, step: (context: Context, a: Decimal, b: Decimal) => Decimal): Operator {
  return {
    least,
    most,
    apply: (D, [first = new D(0), ...rest]) => rest.reduce((result, operand) => step(D, result, operand), first),
  };
}

const dividing = (by: "div" | "mod") => (D: Context, a: Decimal, b: Decimal) => {
  if (b.isZero()) throw new CalculatorError("division by zero");
  return D[by](a, b);
};

function power(D: Context, base: Decimal, exponent: Decimal): Decimal {
  if (exponent.abs().gt(maxPower)) throw new CalculatorError(`an exponent may be at most ${maxPower}`);
  if (base.isZero() && exponent.isNegative() && !exponent.isZero()) {
    throw new CalculatorError("zero has no negative power: it would be a division by zero");
  }
  if (!exponent.isInteger()) {
    if (base.isNegative() && !base.isZero())
      throw new CalculatorError("a fractional power of a negative number is not real");
    if (D.precision > maxPowerPrecision) {
      throw new CalculatorError(
        `fractional powers are computed to at most ${maxPowerPrecision} digits; lower the precision`,
      );
    }
  }
  const n = exponent.abs().toNumber();
  if (!exponent.isInteger() || n * base.precision() > fullPower) return D.pow(base, exponent);
  const full = context(fullPower).pow(base, n);
  return exponent.isNegative() ? D.div(1, full) : full;
}

// Up to this many digits, a power is computed in full and rounded once.
const fullPower = 4000;

// Consider the digits of a number without trailing zeros. No power of them ends in a zero, so a power has at least
// (digits − 1) × exponent digits: beyond fullPower, always more than any precision, unless the digits are a single 1.
function isPowerExact(
  result: Decimal,
  [base = new Decimal(0), exponent = new Decimal(0)]: readonly Decimal[],
): boolean {
  if (!exponent.isInteger()) return false;
  if (base.isZero() || exponent.isZero()) return true;
  const n = exponent.abs().toNumber();
  if (n * base.precision() > fullPower)
    return /^10*$/.test(
      base
        .abs()
        .toFixed()
        .replace(/^0\.0*/, ""),
    );
  const full = context(fullPower).pow(base, n);
  return exponent.isNegative() ? exactProduct(result, full).eq(1) : result.eq(full);
}

function squareRoot(D: Context, a: Decimal): Decimal {
  if (a.isNegative() && !a.isZero()) throw new CalculatorError("the square root of a negative number is not real");
  return D.sqrt(a);
}

/** Every operator of exact_calculate. */
const operators = {
  add: { least: 1, most: maxOperands, apply: (_, operands) => exactSum(operands) },
  subtract: {
    least: 2,
    most: maxOperands,
    apply: (D, [first = new D(0), ...rest]) => exactSum([first, ...rest.map((operand) => operand.neg())]),
  },
  multiply: chain(1, maxOperands, (D, a, b) => D.mul(a, b)),
  divide: chain(2, 100, dividing("div")),
  power: { ...binary(power), isExact: isPowerExact },
  sqrt: { ...unary(squareRoot), isExact: (result, [a = new Decimal(0)]) => exactProduct(result, result).eq(a) },
  modulo: binary(dividing("mod")),
  negate: unary((_, a) => a.neg()),
  abs: unary((_, a) => a.abs()),
  floor: unary((D, a) => D.floor(a)),
  ceil: unary((D, a) => D.ceil(a)),
  round: unary((_, a) => a.toDecimalPlaces(0, Decimal.ROUND_HALF_EVEN)),
  min: { least: 1, most: maxOperands, apply: (D, operands) => D.min(...operands) },
  max: { least: 1, most: maxOperands, apply: (D, operands) => D.max(...operands) },
} satisfies Record<string, Operator>;

export type OperatorName = keyof typeof operators;
export const operatorNames = Object.keys(operators).filter((name): name is OperatorName => name in operators);

type Calculation = { readonly result: string; readonly exact: boolean };

/**
 * Applies an operator and rounds to `precision` significant digits, half to even. `exact` is true only if nothing was
 * rounded away, that is, if rounding down and up agree.
 */
export function calculate(name: OperatorName, operands: readonly (string | number)[], precision: number): Calculation {
  const operator: Operator = operators[name];
  const { least, most } = operator;
  if (operands.length < least || operands.length > most) {
    const wanted = least === most ? `${least}` : `${least} to ${most}`;
    throw new CalculatorError(`${name} takes ${wanted} operand${most === 1 ? "" : "s"}, not ${operands.length}`);
  }
  const numbers = readNumbers(operands);
  const run = (rounding: Decimal.Rounding): Decimal => {
    const D = context(precision, rounding);
    return new D(operator.apply(D, numbers)).toSignificantDigits(precision);
  };
  const result = run(Decimal.ROUND_HALF_EVEN);
  const exact = operator.isExact?.(result, numbers) ?? run(Decimal.ROUND_DOWN).eq(run(Decimal.ROUND_UP));
  return { result: result.toString(), exact };
}
