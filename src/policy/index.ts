import type { Call, Route, Verdict } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import { ownServer, splitCanonical, unknownTool } from "../core/name.ts";
import type { Policy } from "../core/ports.ts";
import type { Principal, Source } from "../core/principal.ts";
import { cut } from "../core/text.ts";
import { compileBundle, type Bundle, type Target } from "./compile.ts";
import type { Facts } from "./condition.ts";
import { digestOf } from "./digest.ts";
import type { GuardrailOptions, PolicyOptions } from "./options.ts";
import { type Decision, decide, decideList, type Plan, planFor, remedy } from "./plan.ts";
import { type Surroundings, warningsOf } from "./warnings.ts";

// Sets of roles whose plans are kept; a plan lives as long as its route does.
const maxRoleSets = 256;
const maxCapabilities = 64;

type Plans = { readonly byRoute: WeakMap<Route, Plan>; readonly byCapability: Map<string, Plan> };

export type PolicyInit = {
  readonly rules: readonly GuardrailOptions[];
  readonly policies: readonly PolicyOptions[];
};

/** A policy that can also say what of it has no effect, as things are now. */
export type CompiledPolicy = Policy & { warnings(surroundings: Surroundings): string[] };

/** Compiles the policy of a configuration. Throws PolicyError. */
export function createPolicy({ rules, policies }: PolicyInit): CompiledPolicy {
  const bundle = compileBundle(rules, policies);
  const digest = digestOf(bundle);
  const plans = createPlans(bundle);
  return {
    digest,
    warnings: (surroundings) => warningsOf(bundle, surroundings),
    decide(call, who, route) {
      const plan = plans.of(who, route);
      const args = call.inbound.params["arguments"] ?? {};
      const decision = decide(plan, { args, who, source: call.source, server: route.server });
      call.policy = digest;
      // Set before any refusal is thrown: the audit log tells the rule even where the caller must not learn it.
      call.verdict = verdictOf(decision);
      if (decision.allowed) return call.verdict;
      if (!decideList(plan, listFacts(who, route.server, call.source))) throw unknownTool(nameAsked(call, route));
      throw denied(plan, decision, who);
    },
    lists: (who, route, source) => decideList(plans.of(who, route), listFacts(who, route.server, source ?? null)),
    admitsInput: () => ({ allowed: true, rule: null, reason: "no guardrail forbids it" }),
    permits(who, capability) {
      const plan = plans.ofCapability(who, capability);
      return plan !== null && decide(plan, { args: {}, who, source: null, server: ownServer }).allowed;
    },
  };
}

const listFacts = (who: Principal, server: string, source: Source | null): Facts => ({
  args: null,
  who,
  source,
  server,
});

function verdictOf({ allowed, rule }: Decision): Verdict {
  if (!rule) return { rule: null, reason: "no rule allows it" };
  return { rule: rule.id, reason: rule.reason ?? (allowed ? "allowed" : "denied") };
}

function nameAsked(call: Call, route: Route): string {
  const name = call.inbound.params["name"];
  return typeof name === "string" ? name : route.wire;
}

function denied(plan: Plan, decision: Decision, who: Principal): Failure {
  const { rule } = decision;
  const what = rule
    ? `Denied by rule ${rule.id}${rule.reason ? `: ${rule.reason}` : ""}.`
    : "Denied: no rule allows it.";
  return new Failure("denied", cut(`${what} ${remedy(plan, decision, who)}`, 1000), rule ? { rule: rule.id } : {});
}

const targetOf = (route: Route): Target => ({ kind: route.kind, server: route.server, name: route.name });

/** Plans by set of roles and target, made once each: deciding does not depend on how many rules there are. */
function createPlans(bundle: Bundle): {
  of(who: Principal, route: Route): Plan;
  ofCapability(who: Principal, capability: string): Plan | null;
} {
  const keys = new WeakMap<readonly string[], string>();
  const sets = new Map<string, Plans>();
  const plansOf = (roles: readonly string[]): Plans => {
    let key = keys.get(roles);
    if (key === undefined) keys.set(roles, (key = JSON.stringify([...new Set(roles)].toSorted())));
    const found = sets.get(key);
    if (found) return found;
    const made = { byRoute: new WeakMap<Route, Plan>(), byCapability: new Map<string, Plan>() };
    evictOldest(sets, maxRoleSets);
    sets.set(key, made);
    return made;
  };
  return {
    of({ roles }, route) {
      const { byRoute } = plansOf(roles);
      const known = byRoute.get(route);
      if (known) return known;
      const plan = planFor(bundle, new Set(roles), targetOf(route));
      byRoute.set(route, plan);
      return plan;
    },
    ofCapability({ roles }, capability) {
      const { byCapability } = plansOf(roles);
      const target = splitCanonical(capability);
      if (target?.server !== ownServer) return null;
      const known = byCapability.get(capability);
      if (known) return known;
      const plan = planFor(bundle, new Set(roles), { kind: "tool", server: ownServer, name: target.tool });
      evictOldest(byCapability, maxCapabilities);
      byCapability.set(capability, plan);
      return plan;
    },
  };
}

function evictOldest(map: Map<string, unknown>, cap: number): void {
  const [oldest] = map.keys();
  if (map.size >= cap && oldest !== undefined) map.delete(oldest);
}
