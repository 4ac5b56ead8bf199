import type { InputMethod } from "../core/inbound.ts";
import type { Principal } from "../core/principal.ts";
import type { Readings } from "../core/uri-readings.ts";
import type { Bundle, InputRule, Rule, Target } from "./compile.ts";
import { type Condition, every, type Facts } from "./condition.ts";
import type { Truth } from "./operators.ts";

/** The rules that are about one target for one set of roles, in order; deciding costs what these cost. */
export type Plan = {
  readonly guardrails: readonly Rule[];
  readonly policies: readonly (readonly Rule[])[];
  /** The target's. */
  readonly readings: Readings | null;
};

/** What was decided and by which rule; null: no rule at all, the default denial. */
export type Decision = { readonly allowed: boolean; readonly rule: Rule | null };

/** The rule matches some of the target's URIs only: that counts like a condition on arguments not known yet. */
function onSome(rule: Rule): Rule {
  const { tool, prompt, resource } = rule.options;
  const some: Condition = {
    path: "name",
    onArgs: true,
    describe: () => `the name or URI fits ${tool ?? prompt ?? resource ?? "*"}`,
    evaluate: () => null,
  };
  return { ...rule, conditions: [...rule.conditions, some] };
}

// Nothing after a rule without conditions is ever reached.
function reachable(rules: readonly Rule[], target: Target): Rule[] {
  const about = rules.flatMap((rule) => {
    const selected = rule.selects(target);
    return selected === false ? [] : [selected === null ? onSome(rule) : rule];
  });
  const last = about.findIndex((rule) => rule.conditions.length === 0);
  return last < 0 ? about : about.slice(0, last + 1);
}

/** Picks from a bundle what concerns the target for somebody with these roles. */
export function planFor(bundle: Bundle, roles: ReadonlySet<string>, target: Target): Plan {
  return {
    guardrails: reachable(bundle.guardrails, target),
    policies: bundle.policies
      .filter((policy) => policy.roles.some((role) => roles.has(role)))
      .map((policy) => reachable(policy.rules, target))
      .filter((rules) => rules.length > 0),
    readings: target.readings,
  };
}

/** The first guardrail over input that is about what a server asks, and matches. */
export function inputRule(rules: readonly InputRule[], method: InputMethod, facts: Facts): InputRule | null {
  return rules.find((rule) => rule.asks(facts.server, method) && matches(rule, holds(rule, facts))) ?? null;
}

// What cannot be evaluated never helps the caller: an allow does not match, a deny does.
const matches = (rule: Rule, truth: Truth): boolean => truth ?? rule.action === "deny";

const holds = (rule: Rule, facts: Facts): Truth => every(rule.conditions.map((condition) => condition.evaluate(facts)));

/** Decides a call: guardrails first, then each policy; any policy's allow grants. */
export function decide(plan: Plan, facts: Facts): Decision {
  const first = (rules: readonly Rule[]): Rule | undefined => rules.find((rule) => matches(rule, holds(rule, facts)));
  const guardrail = first(plan.guardrails);
  if (guardrail?.action === "deny") return { allowed: false, rule: guardrail };
  let denial: Rule | null = null;
  for (const rules of plan.policies) {
    const rule = first(rules);
    if (rule?.action === "allow") return { allowed: true, rule };
    denial ??= rule ?? null;
  }
  return { allowed: false, rule: denial };
}

/** Whether a rule matches for all arguments (true), none (false) or some (null). */
function matchesSome(rule: Rule, facts: Facts): Truth {
  const onArgs = rule.conditions.some((condition) => condition.onArgs);
  const fixed = rule.conditions.filter((condition) => !condition.onArgs);
  const truth = every(fixed.map((condition) => condition.evaluate(facts)));
  if (!onArgs) return matches(rule, truth);
  // A denial that hangs on arguments too can be escaped by some; an allow needs all the rest to hold.
  return truth === false || (truth === null && rule.action === "allow") ? false : null;
}

/** Decides a list entry: whether some arguments would be allowed. Conditions on arguments are unknown here. */
export function decideSome(plan: Plan, facts: Facts): Decision {
  for (const rule of plan.guardrails) {
    const match = matchesSome(rule, facts);
    if (match === false || (match === null && rule.action === "deny")) continue;
    if (rule.action === "deny") return { allowed: false, rule };
    break;
  }
  let denial: Rule | null = null;
  for (const rules of plan.policies) {
    const rule = rules.find((each) => matchesSome(each, facts) ?? each.action === "allow");
    if (rule?.action === "allow") return { allowed: true, rule };
    denial ??= rule ?? null;
  }
  return { allowed: false, rule: denial };
}

/** What a refused caller can do about it, in one sentence. */
export function remedy(plan: Plan, { rule }: Decision, who: Principal): string {
  const onArgs = (each: Rule): string =>
    each.conditions
      .filter((condition) => condition.onArgs)
      .map((condition) => condition.describe(who))
      .join(" and ");
  const allows = plan.policies.flat().filter((each) => each.action === "allow" && onArgs(each) !== "");
  if (rule && onArgs(rule) !== "") return `It denies calls where ${onArgs(rule)} (or where that is missing).`;
  if (allows.length > 0) return `Allowed are calls where ${allows.slice(0, 3).map(onArgs).join(", or where ")}.`;
  return "Ask the operator of the gateway for access.";
}
