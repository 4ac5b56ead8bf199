import type { Route } from "../core/call.ts";
import type { InputMethod } from "../core/inbound.ts";
import type { Explained } from "../core/ports.ts";
import { type Readings, readingsOf, readingsOfTemplate } from "../core/uri-readings.ts";
import type { Bundle, InputRule, Rule } from "./compile.ts";
import { type Condition, every, type Facts, posing } from "./condition.ts";
import type { Truth } from "./operators.ts";

/** The rules about one route for one set of roles, in order; only these cost time at a decision. */
export type Plan = {
  readonly guardrails: readonly Rule[];
  readonly policies: readonly (readonly Rule[])[];
  /** What the name of the route may mean, if it is a URI or a URI template; else null. */
  readonly readings: Readings | null;
};

/** The decision and its rule; null if no rule matched, which is the default denial. */
export type Decision = { readonly allowed: boolean; readonly rule: Rule | null };

/**
 * Adds a condition to a rule that matches only some of the route's URIs; it counts like one on arguments that are not
 * known yet.
 */
function onSome(rule: Rule): Rule {
  const some: Condition = {
    path: "name",
    onArgs: true,
    onPresence: false,
    describe: () => `the URI fits ${rule.options.resource ?? "*"}`,
    evaluate: () => null,
  };
  return { ...rule, conditions: [...rule.conditions, some] };
}

// No rule after one without conditions is ever reached.
function reachable(rules: readonly Rule[], route: Route, readings: Readings | null): Rule[] {
  const about = rules.flatMap((rule) => {
    const selected = rule.selects(route, readings);
    return selected === false ? [] : [selected === null ? onSome(rule) : rule];
  });
  const last = about.findIndex((rule) => rule.conditions.length === 0);
  return last < 0 ? about : about.slice(0, last + 1);
}

/** Picks the rules of a bundle about the route for callers with these roles. */
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

/** The first guardrail over input that is about this question and matches. */
export function inputRule(rules: readonly InputRule[], method: InputMethod, facts: Facts): InputRule | null {
  return rules.find((rule) => rule.asks(facts.server, method) && matches(rule, holds(rule.conditions, facts))) ?? null;
}

// A condition that cannot be evaluated never helps the caller: an allow does not match, a denial does.
const matches = (rule: Rule, truth: Truth): boolean => truth ?? rule.action === "deny";

const holds = (conditions: readonly Condition[], facts: Facts): Truth =>
  conditions.length === 0 || every(conditions.map((condition) => condition.evaluate(facts)));

/** Guardrails first, then each policy; an allow of any policy grants the call. */
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

/** Decides a call. */
export const decide = (plan: Plan, facts: Facts): Decision =>
  decideBy(plan, (rule) => matches(rule, holds(rule.conditions, facts)));

/** Decides a list entry: whether some arguments would be allowed. Conditions on arguments are unknown here. */
export const decideSome = (plan: Plan, facts: Facts): Decision => decideBy(plan, (rule) => matchesSome(rule, facts));

function matchesSome(rule: Rule, facts: Facts): boolean {
  const fixed = rule.conditions.filter((condition) => !condition.onArgs);
  const truth = holds(fixed, facts);
  if (fixed.length === rule.conditions.length) return matches(rule, truth);
  // Some arguments escape a denial that also depends on them. An allow needs all other conditions to hold.
  return rule.action === "allow" && truth === true;
}

export type Outlook = Pick<Explained, "listed" | "remedy" | "elsewhere"> & {
  readonly decision: Decision;
  /** The decision for a source that passes all conditions on it; null if the same rule decides. */
  readonly otherwise: Decision | null;
};

/** Decides without a source, and tells what other arguments, or another source, may change about that. */
export function outlook(plan: Plan, facts: Facts): Outlook {
  const here = outcome(plan, facts);
  const best = { ...plan, guardrails: atBest(plan.guardrails), policies: plan.policies.map(atBest) };
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
  // If no arguments would help, a rule over the given arguments is not the reason.
  return { listed: some.allowed, decision: some.allowed ? decide(plan, facts) : some };
}

/** The rules as they are where every condition on the source helps the caller. */
function atBest(rules: readonly Rule[]): Rule[] {
  return rules.flatMap((rule) => {
    const conditions = rule.conditions.filter(({ path }) => !path.startsWith("source."));
    if (conditions.length === rule.conditions.length) return [rule];
    return rule.action === "allow" ? [{ ...rule, conditions }] : [];
  });
}

/** The arguments with which a refused caller may succeed, in words; null if the rules name none. */
export function remedy(plan: Plan, { rule }: Decision, { who, args }: Pick<Facts, "who" | "args">): string | null {
  const conditions = (each: Rule): Condition[] => each.conditions.filter((condition) => condition.onArgs);
  const onArgs = (each: Rule): string =>
    conditions(each)
      .map((condition) => condition.describe(who))
      .join(" and ");
  const clearly = (rules: readonly Rule[]): string => {
    const [other] = rules.flatMap(conditions).flatMap(({ path }) => posing(args, path) ?? []);
    return other === undefined ? "" : ` Leave out ${other}: a server may take it for the one that is tested.`;
  };
  const allows = plan.policies.flat().filter((each) => each.action === "allow" && onArgs(each) !== "");
  if (rule && onArgs(rule) !== "") {
    const missing = conditions(rule).every(({ onPresence }) => onPresence) ? "" : "missing, ";
    return `It denies calls where ${onArgs(rule)} (or where that is ${missing}unclear or of another type).${clearly([rule])}`;
  }
  const told = allows.slice(0, 3);
  return told.length > 0 ? `Allowed are calls where ${told.map(onArgs).join(", or where ")}.${clearly(told)}` : null;
}
