import { createBoundedMap } from "../core/bounded-map.ts";
import type { Call, Route, Verdict } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { formatPath, type Mention } from "../core/finding.ts";
import { memoize } from "../core/memoize.ts";
import { notFound, ownServer, plainRoute } from "../core/name.ts";
import type { Capability, Explained, Policy } from "../core/ports.ts";
import type { Principal, Source } from "../core/principal.ts";
import { cut } from "../core/text.ts";
import { type Bundle, compileBundle } from "./compile.ts";
import { type Facts, sourceFacts } from "./condition.ts";
import { digestOf } from "./digest.ts";
import { mentionsIn, roleWarnings } from "./findings.ts";
import type { PolicySet } from "./options.ts";
import { ArgumentsText } from "./arguments-text.ts";
import {
  type Decision,
  decide,
  decideSome,
  inputRule,
  type Outlook,
  outlook,
  type Plan,
  planFor,
  remedy,
} from "./plan.ts";

// The maximum number of role sets whose plans are kept; a plan lives as long as its route.
const maxRoleSets = 256;

/** A policy that can also report which of its parts have no effect, or may have none. */
export type CompiledPolicy = Policy & {
  warnings(given: readonly string[], stored: readonly string[]): string[];
  mentions(): readonly Mention[];
};

const capabilityRoutes: Readonly<Record<Capability, Route>> = {
  metrics: plainRoute("tool", ownServer, "metrics"),
  status: plainRoute("tool", ownServer, "status"),
  audit_all: plainRoute("tool", ownServer, "audit_all"),
};

/** Rules that cannot be compiled; `examine` reports the same errors, each with its location. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
}

/** Compiles the policy of a configuration. Throws PolicyError. */
export function createPolicy(set: PolicySet): CompiledPolicy {
  const { bundle, faults } = compileBundle(set);
  if (faults.length > 0) {
    throw new PolicyError(faults.map(({ path, message }) => `${formatPath(path)}: ${message}`).join("\n"));
  }
  const digest = digestOf(bundle);
  const planOf = createPlans(bundle);
  const some = (who: Principal, server: string, source: Source | null): Facts => ({
    args: null,
    text: null,
    who,
    source,
    server,
    readings: null,
  });
  return {
    digest,
    sourceKey: sourceKeyIn(bundle),
    warnings: (given, stored) => roleWarnings(bundle.policies, given, stored),
    mentions: () => mentionsIn(bundle),
    names: (roles) => bundle.policies.some((policy) => policy.roles.some((role) => roles.includes(role))),
    decide(call, who, route, named = null) {
      const plan = planOf(who, route);
      const { source } = call;
      const { readings } = named ? planOf(who, named) : plan;
      const args = argsOf(call, route, named);
      const decision = decide(plan, { args, text: textOf(call, route), who, source, server: route.server, readings });
      call.policy = digest;
      // Set before any refusal is thrown: the audit log records the rule even if the caller must not learn it.
      call.verdict = verdictOf(decision);
      if (decision.allowed) return call.verdict;
      if (!decideSome(plan, some(who, route.server, source)).allowed)
        throw notFound(route.kind, requestedName(call, route));
      throw denied(plan, decision, { who, args });
    },
    lists: (who, route, source) => decideSome(planOf(who, route), some(who, route.server, source ?? null)).allowed,
    judge(who, source, route, args) {
      const plan = planOf(who, route);
      const facts = { ...some(who, route.server, source), args, readings: plan.readings };
      const decision = args === null ? decideSome(plan, facts) : decide(plan, facts);
      return { ...verdictOf(decision), allowed: decision.allowed };
    },
    explain(who, route, args) {
      const plan = planOf(who, route);
      const facts = { ...some(who, route.server, null), args, readings: plan.readings };
      return explained(outlook(plan, facts));
    },
    admitsInput(who, source, server, method) {
      const rule = inputRule(bundle.inputs, method, some(who, server, source));
      if (!rule) return { allowed: true, rule: null, reason: "no guardrail forbids it" };
      const allowed = rule.action === "allow";
      return { ...verdictOf({ allowed, rule }), allowed };
    },
    permits(who, capability, source) {
      const plan = planOf(who, capabilityRoutes[capability]);
      return decide(plan, { ...some(who, ownServer, source), args: {} }).allowed;
    },
  };
}

function sourceKeyIn({ guardrails, policies }: Bundle): Policy["sourceKey"] {
  const rules = [...guardrails, ...policies.flatMap((policy) => policy.rules)];
  const paths = new Set(rules.flatMap(({ conditions }) => conditions.map(({ path }) => path)));
  const facts = Object.entries(sourceFacts).filter(([name]) => paths.has(`source.${name}`));
  if (facts.length === 0) return () => "";
  return (source) => JSON.stringify(facts.map(([, read]) => read(source)));
}

/** Returns the arguments that conditions test. A completion has none, so conditions on them count against it. */
function argsOf({ inbound: { method, params } }: Call, { kind, name }: Route, named: Route | null): unknown {
  if (method === "completion/complete") return null;
  if (kind === "resource") return { uri: name };
  if (kind === "extension") return named ? { ...params, uri: named.name } : params;
  return params["arguments"] ?? {};
}

function textOf({ inbound: { text, spans } }: Call, { kind }: Route): ArgumentsText | null {
  const span = kind === "extension" ? spans.params : spans.arguments;
  return span && new ArgumentsText(text, span[0]);
}

function verdictOf({ allowed, rule }: Decision): Verdict {
  if (!rule) return { rule: null, reason: "no rule allows it" };
  return { rule: rule.id, reason: rule.reason ?? (allowed ? "allowed" : "denied") };
}

function explained({ decision, otherwise, ...more }: Outlook): Explained {
  const { rule, reason } = verdictOf(decision);
  const phrase = (other: Verdict): string =>
    other.rule === null ? other.reason : `rule ${other.rule}: ${other.reason}`;
  const also = otherwise ? `; from another source, possibly ${phrase(verdictOf(otherwise))}` : "";
  return { rule, reason: reason + also, allowed: decision.allowed, ...more };
}

/** Returns the name as the caller wrote it, so that a refusal reveals no more than the caller knows. */
function requestedName({ inbound: { method, params } }: Call, { kind, wire }: Route): string {
  const { ref } = params;
  const holder = typeof ref === "object" && ref !== null && method === "completion/complete" ? ref : params;
  const asked: unknown = Reflect.get(holder, kind === "resource" ? "uri" : "name");
  return typeof asked === "string" && kind !== "extension" ? asked : wire;
}

/** Adds a full stop if the operator wrote the reason without one. */
const sentence = (text: string): string => (/[.!?]$/.test(text.trimEnd()) ? text.trimEnd() : `${text}.`);

function denied(plan: Plan, decision: Decision, facts: Pick<Facts, "who" | "args">): Failure {
  const { rule } = decision;
  const what = rule
    ? sentence(`Denied by rule ${rule.id}${rule.reason ? `: ${rule.reason}` : ""}`)
    : "Denied: no rule allows it.";
  const advice = remedy(plan, decision, facts) ?? "Ask the operator of the gateway for access.";
  return new Failure("denied", cut(`${what} ${advice}`, 1000), { rule: rule?.id });
}

/** Caches plans by role set and route, so that the cost of a decision does not depend on the number of rules. */
function createPlans(bundle: Bundle): (who: Principal, route: Route) => Plan {
  const keyOf = memoize((roles: readonly string[]) => JSON.stringify([...new Set(roles)].toSorted()));
  const sets = createBoundedMap<(route: Route) => Plan>({ cap: maxRoleSets });
  const plansOf = (roles: readonly string[]): ((route: Route) => Plan) => {
    const key = keyOf(roles);
    const found = sets.get(key);
    if (found) return found;
    const made = memoize((route: Route) => planFor(bundle, new Set(roles), route));
    sets.set(key, made);
    return made;
  };
  return ({ roles }, route) => plansOf(roles)(route);
}
