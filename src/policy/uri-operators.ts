import { type GlobTokens, globTokens, literalTokens, onlyText } from "../core/glob.ts";
import { formsOfGlob, matchReadings, type Readings } from "../core/uri-readings.ts";
import {
  compileTokens,
  type Fill,
  not,
  operators,
  type Scalar,
  type Table,
  type Test,
  type Truth,
} from "./operators.ts";

/** Tests all readings of a resource's URI; also null if only some of them pass. */
type UriTest = (readings: Readings, fill: Fill) => Truth;

const incomparable = (): UriTest => () => null;

/** The entries of `operators` as tests of a resource's URI. */
export const uriOperators: Table<UriTest> = {
  eq: (operand) => isOneOf([operand]),
  neq: (operand) => not(isOneOf([operand])),
  in: isOneOf,
  notIn: (operands) => not(isOneOf(operands)),
  regex: (operand) => agreed(operators.regex(operand)),
  glob: (operand) => matches(operand, globTokens),
  lt: incomparable,
  lte: incomparable,
  gt: incomparable,
  gte: incomparable,
  exists: (operand) => () => operand,
};

function matches(text: string, tokensOf: (part: string) => GlobTokens): UriTest {
  const glob = formsOfGlob(text, (form) => compileTokens(form, tokensOf));
  return (readings, fill) => {
    const filled = (forms: readonly ((fill: Fill) => GlobTokens | null)[]) =>
      forms.map((form) => form(fill)).filter((form) => form !== null);
    const [written, ...read] = filled(glob.read);
    if (!written || read.length + 1 < glob.read.length) return null;
    return matchReadings({ read: [written, ...read], others: filled(glob.others) }, readings);
  };
}

// A number cannot be compared with a URI; null differs from every URI.
function isOneOf(operands: readonly Scalar[]): UriTest {
  const tests = operands
    .filter((operand) => typeof operand === "string" || operand === null)
    .map((operand) => (operand === null ? () => false : matches(operand, literalTokens)));
  return (readings, fill) => {
    const truths = tests.map((test) => test(readings, fill));
    if (truths.includes(true)) return true;
    return truths.includes(null) || truths.length === 0 ? null : false;
  };
}

function agreed(test: Test): UriTest {
  return (readings, fill) => {
    const [first = null, ...others] = readings.map((one) => test(onlyText(one) ?? undefined, fill));
    return others.every((truth) => truth === first) ? first : null;
  };
}
