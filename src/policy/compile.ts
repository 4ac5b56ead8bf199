import { compileGlob } from "../core/glob.ts";
import { ownServer, splitCanonical } from "../core/name.ts";
import { type Condition, compileConditions } from "./condition.ts";
import { OperatorError } from "./operators.ts";
import type { GuardrailOptions, PolicyOptions, RuleOptions } from "./options.ts";

const kinds = ["tool", "prompt", "resource"] as const;
/** What a rule can select. */
export type Kind = (typeof kinds)[number];

/** One thing a caller asks for: a tool or prompt by its name, a resource by its URI. */
export type Target = { readonly kind: Kind | "extension"; readonly server: string; readonly name: string };

/** Where something stands in the configuration. */
type Place = readonly (string | number)[];

/** A rule that is wrong; the message names it and what to do. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
  place: Place = [];
}

/** A rule, ready to be matched. */
export type Rule = {
  /** As given, else `<policy>[index]`. */
  readonly id: string;
  readonly action: "allow" | "deny";
  readonly reason: string | null;
  readonly conditions: readonly Condition[];
  /** Whether the rule is about this target, its conditions aside. */
  readonly selects: (target: Target) => boolean;
  readonly options: RuleOptions;
};

type RolePolicy = { readonly id: string; readonly roles: readonly string[]; readonly rules: readonly Rule[] };

/** Everything that decides: guardrails in the order of decision, then policies. */
export type Bundle = { readonly guardrails: readonly Rule[]; readonly policies: readonly RolePolicy[] };

/** The one kind a rule selects, null for all. Throws PolicyError when it names more than one. */
export function kindOf(id: string, options: RuleOptions): Kind | null {
  const given = kinds.filter((kind) => options[kind] !== undefined);
  if (given.length > 1)
    throw new PolicyError(`rule ${id} has ${given.join(" and ")}; a rule selects one kind, write two`);
  return given[0] ?? null;
}

/** Server and name globs of a rule, null where it has none; `tool: "crm:q_*"` is short for server crm, tool q_*. */
export function selectorOf(options: RuleOptions): { readonly server: string | null; readonly name: string | null } {
  const { tool, prompt, resource, server } = options;
  // A resource's name is a URI: its colon belongs to it.
  const named = server === undefined && resource === undefined ? splitCanonical(tool ?? prompt ?? "") : null;
  return { server: server ?? named?.server ?? null, name: named?.tool ?? tool ?? prompt ?? resource ?? null };
}

function compileSelector(id: string, options: RuleOptions): Rule["selects"] {
  const kind = kindOf(id, options);
  const { server, name } = selectorOf(options);
  const isServer = compileGlob(server ?? "*");
  const isName = compileGlob(name ?? "*");
  // The gateway's own tools show what other callers did: only a rule that names them grants them.
  const namesOwn = server === ownServer;
  return (target) =>
    (kind === null || kind === target.kind) &&
    (target.server === ownServer ? namesOwn : isServer(target.server)) &&
    isName(target.name);
}

function compileRule(id: string, options: RuleOptions, place: Place): Rule {
  try {
    const selects = compileSelector(id, options);
    const conditions = compileConditions(options.when);
    return { id, action: options.action, reason: options.reason ?? null, conditions, selects, options };
  } catch (error) {
    const wrong = error instanceof OperatorError ? new PolicyError(`rule ${id}: ${error.message}`) : error;
    if (wrong instanceof PolicyError) wrong.place = place;
    throw wrong;
  }
}

// Highest priority first, ties deny first, then the order of the file (sorting is stable).
function inOrder(rules: readonly GuardrailOptions[]): readonly (readonly [GuardrailOptions, number])[] {
  const denies = (rule: GuardrailOptions): number => (rule.action === "deny" ? 0 : 1);
  return rules
    .map((rule, index) => [rule, index] as const)
    .toSorted(([a], [b]) => b.priority - a.priority || denies(a) - denies(b));
}

/** Compiles guardrails and policies. Throws PolicyError naming the rule. */
export function compileBundle(rules: readonly GuardrailOptions[], policies: readonly PolicyOptions[]): Bundle {
  const bundle = {
    guardrails: inOrder(rules).map(([rule, index]) =>
      compileRule(rule.id ?? `rules[${index}]`, rule, ["rules", index]),
    ),
    policies: policies.map((policy, at) => ({
      id: policy.id,
      roles: policy.roles,
      rules: policy.rules.map((rule, index) =>
        compileRule(rule.id ?? `${policy.id}[${index}]`, rule, ["policies", at, "rules", index]),
      ),
    })),
  };
  refuseTwins("policies: id", bundle.policies);
  refuseTwins("rule", [...bundle.guardrails, ...bundle.policies.flatMap((policy) => policy.rules)]);
  return bundle;
}

/** The first thing that is wrong with rules whose shape is right; null when they compile. */
export function faultOf(
  rules: readonly GuardrailOptions[],
  policies: readonly PolicyOptions[],
): { readonly path: Place; readonly message: string } | null {
  try {
    compileBundle(rules, policies);
    return null;
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    return { path: error.place, message: error.message };
  }
}

function refuseTwins(what: string, named: readonly { readonly id: string }[]): void {
  const seen = new Set<string>();
  for (const { id } of named) {
    if (seen.has(id)) {
      const error = new PolicyError(`${what} ${id} occurs twice; the audit log needs one name for each`);
      error.place = ["policies"];
      throw error;
    }
    seen.add(id);
  }
}
