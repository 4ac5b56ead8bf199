import { compileGlob } from "../core/glob.ts";
import { inputMethods } from "../core/inbound.ts";
import { ownServer } from "../core/name.ts";
import { type Bundle, globOf, type InputRule, kindOf, type Rule, selectorOf } from "./compile.ts";

/** What else the configuration says, to find rules and roles that have no effect. */
export type Surroundings = {
  /** Every role that a key or other caller carries. */
  readonly roles: readonly string[];
  readonly servers: readonly string[];
};

/** The role of local administrators, who need no key. */
const localRole = "admin";

/** Sentences about what loads but cannot be meant: roles nobody grants, rules that never match. */
export function warningsOf({ guardrails, inputs, policies }: Bundle, { roles, servers }: Surroundings): string[] {
  const named = new Set(policies.flatMap((policy) => policy.roles));
  const carried = new Set(roles);
  return [
    ...[...carried]
      .filter((role) => !named.has(role))
      .map((role) => `no policy names the role ${JSON.stringify(role)}: it grants nothing`),
    ...policies
      .filter((policy) => !policy.roles.some((role) => role === localRole || carried.has(role)))
      .map((policy) => `policy ${policy.id} applies to nobody: no caller has the role ${policy.roles.join(" or ")}`),
    ...inputs.flatMap(methodless),
    ...[guardrails, inputs, ...policies.map((policy) => policy.rules)].flatMap((rules) => [
      ...shadowed(rules),
      ...rules.flatMap((rule) => serverless(rule, servers)),
    ]),
  ];
}

function serverless(rule: Rule, servers: readonly string[]): string[] {
  const { server } = selectorOf(rule.options);
  if (server === null || [ownServer, ...servers].some(compileGlob(server))) return [];
  return [`rule ${rule.id} never matches: there is no server ${server}`];
}

function methodless({ id, options }: InputRule): string[] {
  const input = globOf(options) ?? "*";
  if (inputMethods.some(compileGlob(input))) return [];
  return [`rule ${id} never matches: what servers ask is ${inputMethods.join(", ")}, never ${input}`];
}

// Only the plain case is found: an unconditional rule before, whose globs are `*`, absent or the same.
function covers(before: Rule, after: Rule): boolean {
  const wide = selectorOf(before.options);
  const narrow = selectorOf(after.options);
  const kind = kindOf(before.id, before.options);
  if (before.conditions.length > 0 || (kind !== null && kind !== kindOf(after.id, after.options))) return false;
  // A rule for every server does not match the gateway's own.
  const sameServer = wide.server === narrow.server || ((wide.server ?? "*") === "*" && narrow.server !== ownServer);
  const [all, some] = [globOf(before.options) ?? wide.name ?? "*", globOf(after.options) ?? narrow.name];
  return sameServer && (all === "*" || all === some);
}

function shadowed(rules: readonly Rule[]): string[] {
  const wide: Rule[] = [];
  const found: string[] = [];
  for (const rule of rules) {
    const before = wide.find((each) => covers(each, rule));
    if (before) found.push(`rule ${rule.id} never matches: rule ${before.id} comes first and matches the same`);
    else if (rule.conditions.length === 0 && wide.length < 100) wide.push(rule);
  }
  return found;
}
