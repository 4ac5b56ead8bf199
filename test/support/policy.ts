import { expect } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import type { Principal, Source } from "../../src/core/principal.ts";
import { policiesOptions, rulesOptions } from "../../src/policy/options.ts";
import { createPolicy } from "../../src/policy/policy.ts";
import { loopback, makeCall, makeRoute } from "./call.ts";
import { principal } from "./principal.ts";

export type Rule = Record<string, unknown>;

/** Returns a policy of guardrails and one policy per role. */
export function policyOf(rules: Rule[], policies: Record<string, Rule[]> = {}) {
  return createPolicy({
    rules: rulesOptions.parse(rules),
    policies: policiesOptions.parse(
      Object.entries(policies).map(([role, each]) => ({ id: `${role}-policy`, roles: [role], rules: each })),
    ),
  });
}

export type Asked = { on?: string; args?: unknown; who?: Principal; source?: Source };

/** Returns the outcome of a call: `allow <rule>`, `deny <rule>` or `hidden`; checks that list and call agree. */
export function ask(
  policy: ReturnType<typeof policyOf>,
  { on = "crm:get_user", args, who, source = loopback }: Asked = {},
): string {
  const [server = "", tool = ""] = on.split(":");
  const route = makeRoute(server, tool);
  const call = makeCall({ name: route.wire, args, source });
  const caller = who ?? principal();
  const listed = policy.lists(caller, route, source);
  try {
    const verdict = policy.decide(call, caller, route);
    expect(listed).toBe(true);
    return `allow ${verdict.rule}`;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    expect(listed).toBe(error.code === "denied");
    expect(call.policy).toBe(policy.digest);
    return `${error.code === "denied" ? "deny" : "hidden"} ${call.verdict?.rule}`;
  }
}
