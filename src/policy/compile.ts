import type { Route } from "../core/call.ts";
import { type Finding, formatPath, type Path } from "../core/finding.ts";
import { compileGlob } from "../core/glob.ts";
import type { InputMethod } from "../core/inbound.ts";
import { ownServer, splitSelector } from "../core/name.ts";
import { beginningsOf, compileUriGlob, type Readings } from "../core/uri-readings.ts";
import { type Condition, compileConditions } from "./condition.ts";
import { RuleError, type Truth } from "./operators.ts";
import { type About, indexRules } from "./rule-index.ts";
import type { GuardrailOptions, PolicyOptions, PolicySet, RuleOptions } from "./options.ts";

const selectable = ["tool", "prompt", "resource", "input"] as const;
/** The kinds that a rule can select; `input` is a server's question to the caller. */
type Selectable = (typeof selectable)[number];

type Options = RuleOptions & { readonly input?: string | undefined };

/** A compiled rule. */
export type Rule = {
  /** The configured id, else `<policy>[index]`. */
  readonly id: string;
  readonly path: Path;
  readonly action: "allow" | "deny";
  readonly reason: string | null;
  readonly conditions: readonly Condition[];
  /**
   * Reports whether the rule selects a route, ignoring its conditions; null if it selects only some of the route's
   * URIs. `readings` holds the possible meanings of the name, if it is a URI or a URI template.
   */
  readonly selects: (route: Route, readings: Readings | null) => Truth;
  /** The literal prefixes of the URIs that the rule selects; empty if it selects no resources. */
  readonly beginnings: readonly string[];
  readonly options: Options;
};

type RolePolicy = {
  readonly id: string;
  readonly roles: readonly string[];
  readonly rules: readonly Rule[];
  readonly about: About<Rule>;
};

/** A guardrail for servers' questions to callers. */
export type InputRule = Rule & { readonly asks: (server: string, method: InputMethod) => boolean };

/** All rules: guardrails in the order of decision, the policies, and the guardrails for input. */
export type Bundle = {
  readonly guardrails: readonly Rule[];
  readonly guardrailsAbout: About<Rule>;
  readonly inputs: readonly InputRule[];
  readonly policies: readonly RolePolicy[];
};

/** Returns the kind that a rule selects; null for all kinds. Throws RuleError if it names more than one. */
export function kindOf(options: Options): Selectable | null {
  const given = selectable.filter((kind) => options[kind] !== undefined);
  if (given.length > 1) throw new RuleError(`has ${given.join(" and ")}, but a rule selects one kind; write two rules`);
  return given[0] ?? null;
}

/** Returns the server and name globs of a rule, each null if not given. */
export function selectorOf(options: RuleOptions): { readonly server: string | null; readonly name: string | null } {
  const { tool, prompt, resource, server } = options;
  const selector = tool ?? prompt;
  // The name of a resource is a URI, so a colon in it does not separate a server.
  if (selector === undefined) return { server: server ?? null, name: resource ?? null };
  return splitSelector(selector, server);
}

function compileSelector(options: Options): Rule["selects"] {
  const kind = kindOf(options);
  const { server, name } = selectorOf(options);
  const isServer = compileGlob(server ?? "*");
  const isName = compileGlob(name ?? "*");
  const isUri = compileUriGlob(name ?? "*");
  // The gateway's own tools show what other callers did, so only a rule that names their server selects them.
  const namesOwn = server === ownServer;
  return (route, readings) => {
    if (kind !== null && kind !== route.kind) return false;
    if (!(route.server === ownServer ? namesOwn : isServer(route.server))) return false;
    if (!readings) return isName(route.name);
    return isUri(readings, route.template ? route.name : null);
  };
}

function compileInput(rule: Rule, { input, server }: Options & { readonly input: string }): InputRule {
  const onArgs = rule.conditions.find((condition) => condition.onArgs);
  if (onArgs) throw new RuleError("input from a server has no args; use principal or source", ["when", onArgs.path]);
  const isServer = compileGlob(server ?? "*");
  const isMethod = compileGlob(input);
  return { ...rule, asks: (id, method) => isServer(id) && isMethod(method) };
}

/** Throws RuleError. */
function compileRule(id: string, options: Options, path: Path): Rule | InputRule {
  const { action, reason = null, input } = options;
  const selects = compileSelector(options);
  const conditions = compileConditions(options.when);
  const isForResources = (kindOf(options) ?? "resource") === "resource";
  const beginnings = isForResources ? beginningsOf(selectorOf(options).name ?? "*") : [];
  const rule = { id, path, action, reason, conditions, selects, beginnings, options };
  return input === undefined ? rule : compileInput(rule, { ...options, input });
}

// Highest priority first; at equal priority, denials first, then file order (the sort is stable).
function inOrder(rules: readonly GuardrailOptions[]): readonly (readonly [GuardrailOptions, number])[] {
  const denies = (rule: GuardrailOptions): number => (rule.action === "deny" ? 0 : 1);
  return rules
    .map((rule, index) => [rule, index] as const)
    .toSorted(([a], [b]) => b.priority - a.priority || denies(a) - denies(b));
}

type Named = { readonly id: string; readonly path: Path };

const guardrailName = ({ id }: RuleOptions, index: number): string => id ?? `rules[${index}]`;
const ruleName = (policy: PolicyOptions, { id }: RuleOptions, index: number): string => id ?? `${policy.id}[${index}]`;

/** Compiles guardrails and policies; faulty rules are left out. */
export function compileBundle(set: PolicySet): { readonly bundle: Bundle; readonly faults: readonly Finding[] } {
  const { rules, policies } = set;
  const faults = twins(set);
  const compile = (id: string, options: Options, path: Path): (Rule | InputRule)[] => {
    try {
      return [compileRule(id, options, path)];
    } catch (error) {
      if (!(error instanceof RuleError)) throw error;
      faults.push({ path: [...path, ...error.path], message: error.message });
      return [];
    }
  };
  const above = inOrder(rules).flatMap(([rule, index]) => compile(guardrailName(rule, index), rule, ["rules", index]));
  const guardrails = above.filter((rule) => !isInput(rule));
  const bundle = {
    guardrails,
    guardrailsAbout: indexRules(guardrails),
    inputs: above.filter(isInput),
    policies: policies.map((policy, at) => {
      const compiled = policy.rules.flatMap((rule, index) =>
        compile(ruleName(policy, rule, index), rule, ["policies", at, "rules", index]),
      );
      return { id: policy.id, roles: policy.roles, rules: compiled, about: indexRules(compiled) };
    }),
  };
  return { bundle, faults };
}

const isInput = (rule: Rule | InputRule): rule is InputRule => "asks" in rule;

// Finds duplicate ids, because the audit log needs a distinct id for each rule.
function twins({ rules, policies }: PolicySet): Finding[] {
  const same = repeated(policies.map(({ id }, at) => ({ id, path: ["policies", at] })));
  const above = rules.map((rule, index) => ({ id: guardrailName(rule, index), path: ["rules", index] }));
  const below = policies.flatMap((policy, at) =>
    policy.rules.map((rule, index) => ({ id: ruleName(policy, rule, index), path: ["policies", at, "rules", index] })),
  );
  // Rules without an id are named after their policy, so if two policies share an id, duplicates among their rules
  // follow from that.
  return [...same, ...repeated(same.length > 0 ? above : [...above, ...below])];
}

function repeated(all: readonly Named[]): Finding[] {
  const seen = new Map<string, Path>();
  return all.flatMap(({ id, path }) => {
    const first = seen.get(id);
    if (first) return [{ path: [...path, "id"], message: `${formatPath(first)} has this id already` }];
    seen.set(id, path);
    return [];
  });
}
