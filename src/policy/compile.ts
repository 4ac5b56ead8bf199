import type { Kind } from "../core/call.ts";
import { compileGlob } from "../core/glob.ts";
import type { InputMethod } from "../core/inbound.ts";
import { ownServer, splitCanonical } from "../core/name.ts";
import { compileUriGlob, type Readings } from "../core/uri-readings.ts";
import { type Condition, compileConditions } from "./condition.ts";
import { OperatorError, type Truth } from "./operators.ts";
import type { GuardrailOptions, PolicyOptions, RuleOptions } from "./options.ts";

const selectable = ["tool", "prompt", "resource", "input"] as const;
/** What a rule can select; `input`: what a server asks of the caller. */
type Selectable = (typeof selectable)[number];

/** One thing a caller asks for: a tool or prompt by its name, a resource by its URI, an extension by its method. */
export type Target = {
  readonly kind: Kind;
  readonly server: string;
  readonly name: string;
  /** Set where the name is a URI or a template of such: what it stands for. */
  readonly readings: Readings | null;
};

/** Where something stands in the configuration. */
type Place = readonly (string | number)[];

/** A rule that is wrong; the message names it and what to do. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
  place: Place = [];
}

type Options = RuleOptions & { readonly input?: string | undefined };

/** A rule, ready to be matched. */
export type Rule = {
  /** As given, else `<policy>[index]`. */
  readonly id: string;
  readonly action: "allow" | "deny";
  readonly reason: string | null;
  readonly conditions: readonly Condition[];
  /** Whether the rule is about this target, its conditions aside; null: about some of the URIs that it stands for. */
  readonly selects: (target: Target) => Truth;
  readonly options: Options;
};

type RolePolicy = { readonly id: string; readonly roles: readonly string[]; readonly rules: readonly Rule[] };

/** A guardrail over what servers ask of callers. */
export type InputRule = Rule & { readonly asks: (server: string, method: InputMethod) => boolean };

/** Everything that decides: guardrails in the order of decision, then policies; beside them those over input. */
export type Bundle = {
  readonly guardrails: readonly Rule[];
  readonly inputs: readonly InputRule[];
  readonly policies: readonly RolePolicy[];
};

/** What a guardrail over input selects, null for every other rule. */
export const globOf = ({ input }: Options): string | null => input ?? null;

/** The one kind a rule selects, null for all. Throws PolicyError when it names more than one. */
export function kindOf(id: string, options: Options): Selectable | null {
  const given = selectable.filter((kind) => options[kind] !== undefined);
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

function compileSelector(id: string, options: Options): Rule["selects"] {
  const kind = kindOf(id, options);
  const { server, name } = selectorOf(options);
  const isServer = compileGlob(server ?? "*");
  const isName = compileGlob(name ?? "*");
  const isUri = compileUriGlob(name ?? "*");
  // The gateway's own tools show what other callers did: only a rule that names them grants them.
  const namesOwn = server === ownServer;
  return (target) => {
    if (kind !== null && kind !== target.kind) return false;
    if (!(target.server === ownServer ? namesOwn : isServer(target.server))) return false;
    return target.readings ? isUri(target.readings) : isName(target.name);
  };
}

function compileInput(rule: Rule, { input, server }: Options & { readonly input: string }): InputRule {
  const onArgs = rule.conditions.find((condition) => condition.onArgs);
  if (onArgs)
    throw new PolicyError(
      `rule ${rule.id}: when ${onArgs.path}: what a server asks has no args; use principal or source`,
    );
  const isServer = compileGlob(server ?? "*");
  const isMethod = compileGlob(input);
  return { ...rule, asks: (id, method) => isServer(id) && isMethod(method) };
}

function compileRule(id: string, options: Options, place: Place): Rule | InputRule {
  try {
    const selects = compileSelector(id, options);
    const conditions = compileConditions(options.when);
    const rule = { id, action: options.action, reason: options.reason ?? null, conditions, selects, options };
    const { input } = options;
    return input === undefined ? rule : compileInput(rule, { ...options, input });
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
  const above = inOrder(rules).map(([rule, index]) =>
    compileRule(rule.id ?? `rules[${index}]`, rule, ["rules", index]),
  );
  const bundle = {
    guardrails: above.filter((rule) => !isInput(rule)),
    inputs: above.filter(isInput),
    policies: policies.map((policy, at) => ({
      id: policy.id,
      roles: policy.roles,
      rules: policy.rules.map((rule, index) =>
        compileRule(rule.id ?? `${policy.id}[${index}]`, rule, ["policies", at, "rules", index]),
      ),
    })),
  };
  refuseTwins("policies: id", bundle.policies);
  refuseTwins("rule", [...above, ...bundle.policies.flatMap((policy) => policy.rules)]);
  return bundle;
}

const isInput = (rule: Rule | InputRule): rule is InputRule => "asks" in rule;

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
