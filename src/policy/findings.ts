import type { Carrier, Finding, Findings, Mention, Path } from "../core/finding.ts";
import { compileGlob } from "../core/glob.ts";
import { inputMethods } from "../core/inbound.ts";
import { besideServer, nameFault, ownServer } from "../core/name.ts";
import { type Bundle, compileBundle, type InputRule, kindOf, type Rule, selectorOf } from "./compile.ts";
import { impossible } from "./impossible.ts";
import type { PolicyOptions, PolicySet } from "./options.ts";

/** Rules and policies of correct shape, and the parts of the configuration that they refer to. */
type Examined = PolicySet & {
  readonly servers: readonly string[];
  readonly carriers: readonly Carrier[];
};

/** Everything that is wrong with rules and policies, and what is valid but cannot be meant. */
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

/** What the rules say of servers that they name, for who knows what these offer. */
export function mentionsIn({ guardrails, policies }: Bundle): Mention[] {
  return [...guardrails, ...policies.flatMap(({ rules }) => rules)].flatMap(({ path, options, conditions }) => {
    const { server, name } = selectorOf(options);
    const kind = kindOf(options);
    if (server === null || /[*?]/.test(server) || kind === "resource" || kind === "input") return [];
    return [{ path, kind, server, name, subjects: conditions.map((condition) => condition.path) }];
  });
}

/** The role of local administrators, who need no key. */
const localRole = "admin";

/** Warnings that depend on the stored keys; roles that the configuration gives (`given`) are checked elsewhere. */
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
    const message = `${JSON.stringify(id)} allows nothing: what no policy allows is denied anyway`;
    return [{ path: ["policies", index], message }];
  });
}

function ungranted({ rules, policies }: PolicySet): Finding[] {
  const index = rules.findIndex(({ action, input }) => action === "allow" && input === undefined);
  if (policies.length > 0 || index < 0) return [];
  const message = "grants nothing, for it is a guardrail, and there are no policies: nobody may do anything";
  return [{ path: ["rules", index], message }];
}

function serverless({ path, options }: Rule, servers: readonly string[]): Finding[] {
  const { server } = selectorOf(options);
  if (server === null || [ownServer, ...servers].some(compileGlob(server))) return [];
  // A rule without `server` names it in the name of its tool or prompt.
  const key = options.server === undefined ? (kindOf(options) ?? "server") : "server";
  return [{ path: [...path, key], message: `there is no server ${JSON.stringify(server)}: this rule never matches` }];
}

// A guardrail that is meant to deny would let everything pass.
function misnamed({ path, options }: Rule, servers: readonly string[]): Finding[] {
  const { server, name } = selectorOf(options);
  const kind = kindOf(options);
  if (name === null || (kind !== "tool" && kind !== "prompt")) return [];
  // A server that is a gateway itself has such names.
  const meant = [ownServer, ...servers].filter(compileGlob(server ?? "*"));
  const message = nameFault(name, meant, options.server !== undefined, besideServer(kind));
  return message === null ? [] : [{ path: [...path, kind], message }];
}

// Such a denial denies nothing, and an allowance of all but this allows everything.
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
    return [{ path, message: "is a regular expression; only * and ? are wildcards in a glob: write it as regex" }];
  if (subject === "source.ip" && operand.includes("/"))
    return [{ path, message: 'networks are not understood here; write addresses, or a glob as { glob: "10.*" }' }];
  // `**` and `*/` are signs of languages.
  if (operator === "glob" || !/^\*\S+$|^\S+\*$/.test(operand) || !/\w/.test(operand)) return [];
  return [{ path, message: "is compared as it stands; only the operator glob takes * for a wildcard" }];
}

function methodless({ path, options }: InputRule): Finding[] {
  const input = options.input ?? "*";
  if (inputMethods.some(compileGlob(input))) return [];
  const message = `never matches: what servers ask is ${inputMethods.join(", ")}, never ${input}`;
  return [{ path: [...path, "input"], message }];
}

// Finds only the plain case: an earlier rule without conditions, whose globs are `*`, absent or the same.
function covers(before: Rule, after: Rule): boolean {
  const wide = selectorOf(before.options);
  const narrow = selectorOf(after.options);
  const kind = kindOf(before.options);
  if (before.conditions.length > 0 || (kind !== null && kind !== kindOf(after.options))) return false;
  // A rule for every server does not match the gateway's own.
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
      found.push({ path: rule.path, message: `never matches: rule ${before.id} comes first and matches the same` });
    else if (rule.conditions.length === 0 && wide.length < 100) wide.push(rule);
  }
  return found;
}
