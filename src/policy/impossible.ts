import type { Finding } from "../core/finding.ts";
import type { Rule } from "./compile.ts";
import { compileTests, every } from "./condition.ts";
import { operators, template } from "./operators.ts";
import type { ConditionOptions } from "./options.ts";

/** Returns warnings about subjects of a rule whose tests no value can pass together, and about an empty `when`. */
export function impossible({ path, options: { when, action } }: Rule): Finding[] {
  if (when === undefined) return [];
  const at = [...path, "when"];
  if (Object.keys(when).length === 0)
    return [{ path: at, message: "has no condition, so the rule matches every call; write one, or remove when" }];
  return Object.entries(when)
    .filter(([subject, tests]) => subject !== "args.uri" && isImpossible(tests, action === "deny"))
    .map(([subject]) => ({
      path: [...at, subject],
      message: "no value passes all of these tests: correct them, or write each alternative as a separate rule",
    }));
}

/** `unknown` says whether the rule matches if a test cannot be evaluated, as a denial does. */
function isImpossible(options: ConditionOptions, unknown: boolean): boolean {
  // The caller's values are not known here.
  if (JSON.stringify(options).search(template) >= 0) return false;
  const { eq, in: among, notIn } = options;
  const only = eq === undefined ? among : [eq];
  if (only === undefined) return (notIn?.length === 0 && !unknown) || isEmpty(options);
  const tests = compileTests(operators, options);
  return !only.some((value) => every(tests.map((test) => test(value, (text) => text))) ?? unknown);
}

/** Reports whether no number lies within these bounds. */
function isEmpty({ gt = -Infinity, gte = -Infinity, lt = Infinity, lte = Infinity }: ConditionOptions): boolean {
  const low = Math.max(gt, gte);
  const high = Math.min(lt, lte);
  return low > high || (low === high && (gt === low || lt === high));
}
