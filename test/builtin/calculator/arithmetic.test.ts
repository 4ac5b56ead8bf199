import { expect, test } from "bun:test";
import { calculate, type OperatorName } from "../../../src/builtin/calculator/arithmetic.ts";

type Row = [OperatorName, (string | number)[], number, string, boolean];

const rows: Row[] = [
  ["add", ["0.1", "0.2"], 28, "0.3", true],
  ["add", [1.2, "2.3"], 28, "3.5", true],
  ["add", [-0.00123456789012345, 1.5e-7], 28, "-0.00123441789012345", true],
  ["add", ["1e30", "1", "-1e30"], 5, "1", true],
  ["add", ["12345", "0.5"], 4, "12350", false],
  ["add", [" 7 "], 28, "7", true],
  ["add", ["0.000000001"], 28, "0.000000001", true],
  ["subtract", ["1", "0.9", "0.05"], 28, "0.05", true],
  ["multiply", ["1.1", "1.1", "1.1"], 28, "1.331", true],
  ["multiply", ["99", "99"], 2, "9800", false],
  ["divide", ["1", "3"], 5, "0.33333", false],
  ["divide", ["2", "3"], 5, "0.66667", false],
  ["divide", ["1", "8", "5"], 28, "0.025", true],
  ["divide", ["5", "2"], 1, "2", false],
  ["power", ["2", "100"], 40, "1267650600228229401496703205376", true],
  ["power", ["2", "-3"], 28, "0.125", true],
  ["power", ["3", "-1"], 4, "0.3333", false],
  ["power", ["4", "0.5"], 28, "2", false],
  ["power", ["0", "0"], 28, "1", true],
  ["power", ["10", "100000"], 28, "1e+100000", true],
  ["power", ["0.001", "-5"], 28, "1000000000000000", true],
  ["power", [`1.${"0".repeat(900)}1`, "2"], 10, "1", false],
  ["power", [`5.${"0".repeat(59)}1`, "2"], 1, "30", false],
  ["power", ["0", "1000000"], 28, "0", true],
  ["power", ["0", "-0"], 28, "1", true],
  ["power", ["-0", "0.5"], 28, "0", false],
  ["power", ["-10", "100001"], 28, "-1e+100001", true],
  ["power", ["0.001", "5000"], 28, "1e-15000", true],
  ["power", ["-2", "4001"], 4, "-2.636e+1204", false],
  ["sqrt", ["6.25"], 28, "2.5", true],
  ["sqrt", ["-0"], 28, "0", true],
  ["sqrt", ["2"], 10, "1.414213562", false],
  ["sqrt", [`1.${"0".repeat(900)}1`], 10, "1", false],
  ["modulo", ["-7", "3"], 28, "-1", true],
  ["modulo", ["7.5", "2"], 28, "1.5", true],
  ["negate", ["0"], 28, "0", true],
  ["abs", ["-1.50"], 28, "1.5", true],
  ["floor", ["-1.5"], 28, "-2", true],
  ["ceil", ["-1.5"], 28, "-1", true],
  ["round", ["2.5"], 28, "2", true],
  ["min", ["3", "-1", "2"], 28, "-1", true],
  ["max", ["3", "-1", "2"], 28, "3", true],
];

test("R129 every operator rounds correctly and reports whether its result is exact", () => {
  for (const [operator, operands, precision, result, exact] of rows) {
    expect([operator, operands, calculate(operator, operands, precision)]).toEqual([
      operator,
      operands,
      { result, exact },
    ]);
  }
});

test("R129 sums, products and remainders of large integers agree with BigInt", () => {
  let seed = 1n;
  const next = (bits: bigint): bigint => {
    seed = (seed * 6364136223846793005n + 1442695040888963407n) % 2n ** 64n;
    return (seed ** 5n % 2n ** bits) - 2n ** (bits - 1n);
  };
  for (let round = 0; round < 200; round++) {
    const [a, b] = [next(250n), next(200n) || 1n];
    const check = (operator: OperatorName, expected: bigint): void =>
      expect(calculate(operator, [`${a}`, `${b}`], 200)).toEqual({ result: `${expected}`, exact: true });
    check("add", a + b);
    check("subtract", a - b);
    check("multiply", a * b);
    check("modulo", a % b);
  }
});

const refused: [OperatorName, (string | number)[], string][] = [
  ["divide", ["1", "0"], "division by zero"],
  ["modulo", ["1", "0.0"], "division by zero"],
  ["power", ["0", "-1"], "division by zero"],
  ["sqrt", ["-1"], "not real"],
  ["power", ["-8", "0.5"], "not real"],
  ["power", ["9", "387420489"], "at most 1000000"],
  ["power", ["9", "-387420489"], "at most 1000000"],
  ["divide", ["1"], "takes 2 to 100 operands, not 1"],
  ["abs", ["1", "2"], "takes 1 operand, not 2"],
  ["add", ["1,5"], "not a decimal number"],
  ["add", ["NaN"], "not a decimal number"],
  ["add", ["0x10"], "not a decimal number"],
  ["add", [""], "not a decimal number"],
  ["add", ["1e1001"], "exponent"],
  ["add", ["1e-1001"], "exponent"],
  ["add", ["1e99999999"], "not a decimal number"],
  ["add", [2 ** 60], "send it as a string"],
  ["multiply", [Math.PI, 2], "send it as a string"],
  ["add", [Number.POSITIVE_INFINITY], "not a decimal number"],
  ["add", ["9".repeat(1001)], "over 1000 characters"],
  ["multiply", Array<string>(200).fill("9".repeat(999)), "over 100000 characters"],
];

test("R129 a calculation that is not possible is refused with a reason", () => {
  for (const [operator, operands, message] of refused) expect(() => calculate(operator, operands, 28)).toThrow(message);
});

test("R129 fractional powers have their own precision limit", () => {
  expect(() => calculate("power", ["2", "0.5"], 101)).toThrow("at most 100 digits");
});

const costly: [OperatorName, string[]][] = [
  ["multiply", Array<string>(1000).fill("9".repeat(100))],
  ["divide", Array<string>(100).fill("7".repeat(999))],
  ["power", ["9".repeat(999), "-999999"]],
  ["add", Array.from({ length: 100 }, (_, n) => `${"9".repeat(900)}e${n * 20 - 1000}`)],
  ["modulo", ["1e1000", "7e-1000"]],
  ["sqrt", ["2"]],
];

test("R129 the most expensive calculations finish quickly", () => {
  // The runner's timeout of 5 s is the limit for all of them.
  for (const [operator, operands] of costly) expect(calculate(operator, operands, 1000).result).not.toBe("");
});
