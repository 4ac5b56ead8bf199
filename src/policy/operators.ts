import { type GlobTokens, globTokens, literalTokens, matchTokens } from "../core/glob.ts";
import { compilePattern } from "../core/pattern.ts";
import type { ConditionOptions } from "./options.ts";

/** The result of a condition: null if it cannot be evaluated, which never helps the caller. */
export type Truth = boolean | null;

/**
 * Tests a value, which is undefined if it is missing. `fill` replaces `${principal.…}` with the caller's values, and
 * returns null if the caller lacks one.
 */
export type Test = (value: unknown, fill: Fill) => Truth;
export type Fill = (template: string) => string | null;

/** An error in a rule: what is wrong, where, and what to do. */
export class RuleError extends Error {
  readonly path: string[];

  constructor(message: string, path: readonly string[] = []) {
    super(message);
    this.path = [...path];
  }
}

/** Compiles a part of a rule and adds the part's name to the path of a RuleError. */
export function withRulePath<T>(part: string, compile: () => T): T {
  try {
    return compile();
  } catch (error) {
    if (error instanceof RuleError) error.path.unshift(part);
    throw error;
  }
}

export type Scalar = string | number | boolean | null;

/** For each operator, a function that creates a test from the operand. */
export type Table<T> = {
  readonly [K in keyof ConditionOptions]-?: (operand: NonNullable<ConditionOptions[K]>) => T;
};

// Longer texts are not scanned during a call; a condition on them cannot be evaluated.
const maxText = 65_536;

export const template = /\$\{principal\.([A-Za-z]+)\}/g;

export const operators: Table<Test> = {
  eq: (operand) => equals([operand]),
  neq: (operand) => not(equals([operand])),
  in: equals,
  notIn: (operands) => not(equals(operands)),
  regex: compileRegex,
  glob: compileGlobTest,
  lt: (operand) => compares((value) => value < operand),
  lte: (operand) => compares((value) => value <= operand),
  gt: (operand) => compares((value) => value > operand),
  gte: (operand) => compares((value) => value >= operand),
  exists: (operand) => (value) => (value !== undefined) === operand,
};

/** Compiles a text into tokens; null if the caller lacks a value. Values are literal: their `*` is not a wildcard. */
export function compileTokens(text: string, tokensOf: (part: string) => GlobTokens): (fill: Fill) => GlobTokens | null {
  const parts = text.split(/(\$\{principal\.[A-Za-z]+\})/);
  const fixed: readonly (GlobTokens | string)[] = parts.map((part, i) => (i % 2 === 0 ? tokensOf(part) : part));
  return (fill) => {
    const tokens: string[] = [];
    for (const part of fixed) {
      const filled = typeof part === "string" ? fill(part) : null;
      if (typeof part === "string" && filled === null) return null;
      tokens.push(...(typeof part === "string" ? literalTokens(filled ?? "") : part));
    }
    return tokens;
  };
}

/** Negates a test. */
export const not =
  <Value>(test: (value: Value, fill: Fill) => Truth) =>
  (value: Value, fill: Fill): Truth => {
    const truth = test(value, fill);
    return truth === null ? null : !truth;
  };

// The upstream may read an integer beyond the safe range as a different one.
const isExact = (value: number): boolean =>
  Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));

const compares =
  (holds: (value: number) => boolean): Test =>
  (value) =>
    typeof value === "number" && isExact(value) ? holds(value) : null;

const filler = (text: string): ((fill: Fill) => string | null) =>
  text.search(template) < 0 ? () => text : (fill) => fill(text);

// A value whose type is not that of any operand has a wrong type and is not merely different; null compares with any.
function equals(operands: readonly Scalar[]): Test {
  const filled = operands.map((operand) => (typeof operand === "string" ? filler(operand) : () => operand));
  return (value, fill) => {
    if (value === undefined || (typeof value === "object" && value !== null)) return null;
    if (typeof value === "number" && !isExact(value)) return null;
    let comparable = false;
    let unknown = false;
    for (const [index, operand] of operands.entries()) {
      const wanted = filled[index]?.(fill) ?? null;
      if (wanted === null && operand !== null) unknown = true;
      else if (wanted === value) return true;
      else comparable ||= operand === null || typeof operand === typeof value;
    }
    return comparable && !unknown ? false : null;
  };
}

function compileRegex(source: string): Test {
  if (source.search(template) >= 0) throw new RuleError("cannot contain ${principal.…}; use eq, in or glob");
  const pattern = compilePattern(source);
  if (!pattern) {
    throw new RuleError(
      "is not a regular expression that RE2 can run (it is malformed, too large, or uses lookaround or backreferences)",
    );
  }
  return (value) =>
    typeof value === "string" && value.length <= maxText && pattern.fits(value) ? pattern.test(value) : null;
}

function compileGlobTest(glob: string): Test {
  const tokensOf = compileTokens(glob, globTokens);
  return (value, fill) => {
    if (typeof value !== "string" || value.length > maxText) return null;
    const tokens = tokensOf(fill);
    return tokens ? matchTokens(tokens, value) : null;
  };
}
