import type { Carrier, Finding, Findings, Mention, Path } from "../core/finding.ts";
import { compileGlob } from "../core/glob.ts";
import { inputMethods } from "../core/inbound.ts";
import { besideServer, nameFault, ownServer } from "../core/name.ts";
import { type Bundle, compileBundle, type InputRule, kindOf, type Rule, selectorOf } from "./compile.ts";
import { impossible } from "./impossible.ts";
import type { PolicyOptions, PolicySet } from "./options.ts";

/** Well-formed rules and policies, and the parts of the configuration that they refer to. */
type Examined = PolicySet & {
  readonly servers: readonly string[];
  readonly carriers: readonly Carrier[];
};

/** Returns the errors in rules and policies, and warnings about what is valid but cannot be intended. */
export function examine(examined: Examined): Findings {
  const { policies, servers, carriers } = examined;
  const { bundle, faults } = compileBundle(examined);
  const groups = [bundle.guardrails, bundle.inputs, ...bundle.policies.map((policy) => policy.rules)];
  const rules = groups.flat();
  const warnings = [
    ...powerless(policies, carriers),
    ...idle(policies),
    ...ungranted(examined),
    ...bundle.inputs.flatMap(methodless),
    ...groups.flatMap(shadowed),
    ...rules.flatMap((rule) => serverless(rule, servers)),
    ...rules.flatMap((rule) => misnamed(rule, servers)),
    ...rules.flatMap(misread),
    ...rules.flatMap(impossible),
  ];
  return { problems: faults, warnings };
}

/** Returns what rules refer to on the servers that they name, to be checked against what these servers offer. */
export function mentionsIn({ guardrails, policies }: Bundle): Mention[] {
  return [...guardrails, ...policies.flatMap(({ rules }) => rules)].flatMap(({ path, options, conditions }) => {
    const { server, name } = selectorOf(options);
    const kind = kindOf(options);
    if (server === null || /[*?]/.test(server) || kind === "resource" || kind === "input") return [];
    return [{ path, kind, server, name, subjects: conditions.map((condition) => condition.path) }];
  });
}

/** The role of local administrators, which need no key. */
const localRole = "admin";

/** Returns warnings that depend on stored keys; roles from the configuration (`given`) are checked by `examine`. */
export function roleWarnings(
  policies: Bundle["policies"],
  given: readonly string[],
  stored: readonly string[],
): string[] {
  const strange = stored.filter((role) => !given.includes(role));
  const carried = new Set([localRole, ...given, ...stored]);
  return [
    ...powerless(policies, [{ path: [], roles: strange }]).map(({ message }) => message),
    ...policies
      .filter(({ roles }) => !roles.some((role) => carried.has(role)))
      .map(({ id, roles }) => `policy ${id} applies to nobody: no caller has the role ${roles.join(" or ")}`),
  ];
}

type Roles = { readonly roles: readonly string[] };

function powerless(policies: readonly Roles[], carriers: readonly Carrier[]): Finding[] {
  const named = new Set(policies.flatMap(({ roles }) => roles));
  const found: Finding[] = [];
  for (const { path, roles } of carriers) {
    for (const [index, role] of roles.entries()) {
      if (named.has(role)) continue;
      const message = `no policy names the role ${JSON.stringify(role)}: it grants nothing`;
      found.push({ path: [...path, index], message });
      // Reported once for each role.
      named.add(role);
    }
  }
  return found;
}

function idle(policies: readonly PolicyOptions[]): Finding[] {
  return policies.flatMap(({ id, rules }, index) => {
    if (rules.some(({ action }) => action === "allow")) return [];
    const message = `${JSON.stringify(id)} allows nothing: whatever no policy allows is denied anyway`;
    return [{ path: ["policies", index], message }];
  });
}

function ungranted({ rules, policies }: PolicySet): Finding[] {
  const index = rules.findIndex(({ action, input }) => action === "allow" && input === undefined);
  if (policies.length > 0 || index < 0) return [];
  const message = "grants nothing, because it is a guardrail and there are no policies: every call is denied";
  return [{ path: ["rules", index], message }];
}

function serverless({ path, options }: Rule, servers: readonly string[]): Finding[] {
  const { server } = selectorOf(options);
  if (server === null || [ownServer, ...servers].some(compileGlob(server))) return [];
  // A rule without `server` has the server in the name of its tool or prompt.
  const key = options.server === undefined ? (kindOf(options) ?? "server") : "server";
  return [{ path: [...path, key], message: `there is no server ${JSON.stringify(server)}: this rule never matches` }];
}

// A guardrail that is meant to deny would deny nothing.
function misnamed({ path, options }: Rule, servers: readonly string[]): Finding[] {
  const { server, name } = selectorOf(options);
  const kind = kindOf(options);
  if (name === null || (kind !== "tool" && kind !== "prompt")) return [];
  // A server that is itself a gateway has such names.
  const meant = [ownServer, ...servers].filter(compileGlob(server ?? "*"));
  const message = nameFault(name, meant, options.server !== undefined, besideServer(kind));
  return message === null ? [] : [{ path: [...path, kind], message }];
}

// With such an operand, a denial denies nothing, and an allow that excludes it allows everything.
function misread({ path, options: { when = {} } }: Rule): Finding[] {
  return Object.entries(when).flatMap(([subject, tests]) =>
    Object.entries(tests).flatMap(([operator, operand]) => {
      if (!Array.isArray(operand))
        return operandFault(subject, operator, operand, [...path, "when", subject, operator]);
      return operand.flatMap((each, index) =>
        operandFault(subject, operator, each, [...path, "when", subject, operator, index]),
      );
    }),
  );
}

// The operand is not shown: it may come from a variable and be a secret.
function operandFault(subject: string, operator: string, operand: unknown, path: Path): Finding[] {
  if (typeof operand !== "string" || operator === "regex") return [];
  if (operator === "glob" && /^\^.*\$$/.test(operand))
    return [
      { path, message: "is a regular expression; a glob has only the wildcards * and ?: use the operator regex" },
    ];
  if (subject === "source.ip" && operand.includes("/"))
    return [{ path, message: 'networks are not supported here; write addresses, or a glob as { glob: "10.*" }' }];
  // `**` and `*/` are operators of programming languages.
  if (operator === "glob" || !/^\*\S+$|^\S+\*$/.test(operand) || !/\w/.test(operand)) return [];
  return [{ path, message: "is compared literally; only the operator glob treats * as a wildcard" }];
}

function methodless({ path, options }: InputRule): Finding[] {
  const input = options.input ?? "*";
  if (inputMethods.some(compileGlob(input))) return [];
  const message = `never matches: servers send only ${inputMethods.join(", ")}, never ${input}`;
  return [{ path: [...path, "input"], message }];
}

// Detects only the simple case: an earlier rule without conditions whose globs are `*`, absent or the same.
function covers(before: Rule, after: Rule): boolean {
  const wide = selectorOf(before.options);
  const narrow = selectorOf(after.options);
  const kind = kindOf(before.options);
  if (before.conditions.length > 0 || (kind !== null && kind !== kindOf(after.options))) return false;
  // A rule for every server does not match the gateway's own tools.
  const sameServer = wide.server === narrow.server || ((wide.server ?? "*") === "*" && narrow.server !== ownServer);
  const [all, some] = [before.options.input ?? wide.name ?? "*", after.options.input ?? narrow.name];
  return sameServer && (all === "*" || all === some);
}

function shadowed(rules: readonly Rule[]): Finding[] {
  const wide: Rule[] = [];
  const found: Finding[] = [];
  for (const rule of rules) {
    const before = wide.find((each) => covers(each, rule));
    if (before)
      found.push({
        path: rule.path,
        message: `never matches: rule ${before.id} is earlier and matches the same calls`,
      });
    else if (rule.conditions.length === 0 && wide.length < 100) wide.push(rule);
  }
  return found;
}
