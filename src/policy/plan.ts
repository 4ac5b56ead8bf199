import type { Route } from "../core/call.ts";
import type { InputMethod } from "../core/inbound.ts";
import type { Explained } from "../core/ports.ts";
import { type Readings, readingsOf, readingsOfTemplate } from "../core/uri-readings.ts";
import type { Bundle, InputRule, Rule } from "./compile.ts";
import { type Condition, every, type Facts, posing } from "./condition.ts";
import type { Truth } from "./operators.ts";

/** The rules for one route and one set of roles, in order; a decision looks only at these. */
export type Plan = {
  readonly guardrails: readonly Rule[];
  readonly policies: readonly (readonly Rule[])[];
  /** The possible meanings of the route's name, if it is a URI or a URI template; else null. */
  readonly readings: Readings | null;
};

/** A decision and its rule, which is null if no rule matched, so that the call is denied by default. */
export type Decision = { readonly allowed: boolean; readonly rule: Rule | null };

/** Adds a condition that counts like one on unknown arguments to a rule that matches only some of the route's URIs. */
function onSome(rule: Rule): Rule {
  const some: Condition = {
    path: "name",
    onArgs: true,
    onPresence: false,
    describe: () => `the URI matches ${rule.options.resource ?? "*"}`,
    evaluate: () => null,
  };
  return { ...rule, conditions: [...rule.conditions, some] };
}

// Rules after one without conditions are never reached.
function reachable(rules: readonly Rule[], route: Route, readings: Readings | null): Rule[] {
  const about = rules.flatMap((rule) => {
    const selected = rule.selects(route, readings);
    return selected === false ? [] : [selected === null ? onSome(rule) : rule];
  });
  const last = about.findIndex((rule) => rule.conditions.length === 0);
  return last < 0 ? about : about.slice(0, last + 1);
}

/** Selects the rules of a bundle that apply to a route for callers with these roles. */
export function planFor(bundle: Bundle, roles: ReadonlySet<string>, route: Route): Plan {
  const { kind, name, template } = route;
  const readings = template ? readingsOfTemplate(name) : kind === "resource" ? readingsOf(name) : null;
  return {
    guardrails: reachable(bundle.guardrailsAbout(readings), route, readings),
    policies: bundle.policies
      .filter((policy) => policy.roles.some((role) => roles.has(role)))
      .map((policy) => reachable(policy.about(readings), route, readings))
      .filter((rules) => rules.length > 0),
    readings,
  };
}

/** Returns the first matching guardrail for a server's question; null if there is none. */
export function inputRule(rules: readonly InputRule[], method: InputMethod, facts: Facts): InputRule | null {
  return rules.find((rule) => rule.asks(facts.server, method) && matches(rule, holds(rule.conditions, facts))) ?? null;
}

// A condition that cannot be evaluated never helps the caller: an allow does not match, a denial does.
const matches = (rule: Rule, truth: Truth): boolean => truth ?? rule.action === "deny";

const holds = (conditions: readonly Condition[], facts: Facts): Truth =>
  conditions.length === 0 || every(conditions.map((condition) => condition.evaluate(facts)));

/** Decides by the guardrails first, then by each policy; an allow in any policy grants the call. */
function decideBy({ guardrails, policies }: Plan, isMet: (rule: Rule) => boolean): Decision {
  const guardrail = guardrails.find(isMet);
  if (guardrail?.action === "deny") return { allowed: false, rule: guardrail };
  let denial: Rule | null = null;
  for (const rules of policies) {
    const rule = rules.find(isMet);
    if (rule?.action === "allow") return { allowed: true, rule };
    denial ??= rule ?? null;
  }
  return { allowed: false, rule: denial };
}

/** Decides a call with these arguments. */
export const decide = (plan: Plan, facts: Facts): Decision =>
  decideBy(plan, (rule) => matches(rule, holds(rule.conditions, facts)));

/** Decides whether to list an entry: whether some arguments would be allowed. Conditions on arguments are unknown. */
export const decideSome = (plan: Plan, facts: Facts): Decision => decideBy(plan, (rule) => matchesSome(rule, facts));

function matchesSome(rule: Rule, facts: Facts): boolean {
  const fixed = rule.conditions.filter((condition) => !condition.onArgs);
  const truth = holds(fixed, facts);
  if (fixed.length === rule.conditions.length) return matches(rule, truth);
  // A denial that depends on arguments does not cover all of them; an allow needs all other conditions to hold.
  return rule.action === "allow" && truth === true;
}

export type Outlook = Pick<Explained, "listed" | "remedy" | "elsewhere"> & {
  readonly decision: Decision;
  /** The decision for a source that passes all conditions on it; null if the same rule decides. */
  readonly otherwise: Decision | null;
};

/** Returns the decision without a source, and what other arguments or another source may change about it. */
export function outlook(plan: Plan, facts: Facts): Outlook {
  const here = outcome(plan, facts);
  const best = { ...plan, guardrails: withSourceMet(plan.guardrails), policies: plan.policies.map(withSourceMet) };
  const other = outcome(best, facts);
  const { listed, decision } = here.listed ? here : other;
  return {
    ...here,
    remedy: listed && !decision.allowed ? remedy(plan, decision, facts) : null,
    elsewhere: (other.listed && !here.listed) || (other.decision.allowed && !here.decision.allowed),
    otherwise: isSame(other.decision, here.decision) ? null : other.decision,
  };
}

const isSame = (one: Decision, two: Decision): boolean => one.allowed === two.allowed && one.rule?.id === two.rule?.id;

function outcome(plan: Plan, facts: Facts): Pick<Outlook, "listed" | "decision"> {
  const some = decideSome(plan, facts);
  // If no arguments would help, a rule on the given arguments is not the reason.
  return { listed: some.allowed, decision: some.allowed ? decide(plan, facts) : some };
}

/** Returns the rules as they apply if every condition on the source helps the caller. */
function withSourceMet(rules: readonly Rule[]): Rule[] {
  return rules.flatMap((rule) => {
    const conditions = rule.conditions.filter(({ path }) => !path.startsWith("source."));
    if (conditions.length === rule.conditions.length) return [rule];
    return rule.action === "allow" ? [{ ...rule, conditions }] : [];
  });
}

/** Returns, in words, the arguments with which a denied caller may succeed; null if the rules name none. */
export function remedy(plan: Plan, { rule }: Decision, { who, args }: Pick<Facts, "who" | "args">): string | null {
  const conditions = (each: Rule): Condition[] => each.conditions.filter((condition) => condition.onArgs);
  const onArgs = (each: Rule): string =>
    conditions(each)
      .map((condition) => condition.describe(who))
      .join(" and ");
  const clearly = (rules: readonly Rule[]): string => {
    const [other] = rules.flatMap(conditions).flatMap(({ path }) => posing(args, path) ?? []);
    return other === undefined ? "" : ` Leave out ${other}: a server may read it as the argument that the rule tests.`;
  };
  const allows = plan.policies.flat().filter((each) => each.action === "allow" && onArgs(each) !== "");
  if (rule && onArgs(rule) !== "") {
    const missing = conditions(rule).every(({ onPresence }) => onPresence) ? "" : "missing, ";
    return `The rule denies calls if ${onArgs(rule)} (or if a value is ${missing}unclear or of another type).${clearly([rule])}`;
  }
  const told = allows.slice(0, 3);
  return told.length > 0 ? `Calls are allowed if ${told.map(onArgs).join(", or if ")}.${clearly(told)}` : null;
}
