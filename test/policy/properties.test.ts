import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { type GuardrailOptions, policiesOptions, type RuleOptions, rulesOptions } from "../../src/policy/options.ts";
import type { Call } from "../../src/core/call.ts";
import { Failure } from "../../src/core/failure.ts";
import type { Principal } from "../../src/core/principal.ts";
import { plainRoute } from "../../src/core/name.ts";
import { readingsOf } from "../../src/core/uri-readings.ts";
import { compileBundle } from "../../src/policy/compile.ts";
import { createPolicy } from "../../src/policy/policy.ts";
import { loopback, makeCall, makeRoute } from "../support/call.ts";
import { principal } from "../support/principal.ts";

setDefaultTimeout(30_000);

const tools = ["get", "set", "get_all"].flatMap((tool) => ["crm", "files"].map((server) => makeRoute(server, tool)));
const values = ["x", "y", 7, null, undefined];

const when = fc
  .tuple(fc.nat(2), fc.constantFrom({ eq: "x" }, { in: ["x", "z"] }, { exists: true }, { neq: "y" }))
  .map(([path, condition]) => ({ [`args.p${path}`]: condition }));
const rule = fc
  .record(
    {
      action: fc.constantFrom("allow", "deny"),
      tool: fc.constantFrom("*", "get*", "set", "crm:*"),
      server: fc.constantFrom("crm", "f*"),
      priority: fc.integer({ min: 0, max: 2 }),
      when,
    },
    { requiredKeys: ["action"] },
  )
  .map(({ priority, ...rest }) => ({ guardrail: { ...rest, priority: priority ?? 0 }, rule: rest }));
const policies = fc.array(
  fc.record({ role: fc.constantFrom("a", "b", "c"), rules: fc.array(rule, { maxLength: 4 }) }),
  { maxLength: 4 },
);
const guardrails = fc.array(rule, { maxLength: 3 });

type Drawn = { guardrail: unknown; rule: unknown }[];

const build = (rules: Drawn, drawn: { role: string; rules: Drawn }[]) =>
  createPolicy({
    rules: rulesOptions.parse(rules.map((each) => each.guardrail)) satisfies GuardrailOptions[],
    policies: policiesOptions.parse(
      drawn.map(({ role, rules: own }, i) => ({ id: `p${i}`, roles: [role], rules: own.map((each) => each.rule) })),
    ) satisfies { rules: RuleOptions[] }[],
  });

const argumentsOf = (a: unknown, b: unknown, c: unknown): Record<string, unknown> =>
  Object.fromEntries(Object.entries({ p0: a, p1: b, p2: c }).filter(([, value]) => value !== undefined));
const everyArguments = values.flatMap((a) => values.flatMap((b) => values.map((c) => argumentsOf(a, b, c))));
// Created once, because a call and a principal cost far more than a decision.
const everyCall = everyArguments.map((args) => makeCall({ args }));
const withoutArguments = makeCall({ args: {} });
const inA = principal("key:k", ["a"]);
const inBoth = principal("key:k", ["a", "b"]);

function allows(policy: ReturnType<typeof build>, who: Principal, route: (typeof tools)[number], call: Call): boolean {
  try {
    policy.decide(call, who, route);
    return true;
  } catch (error) {
    if (error instanceof Failure) return false;
    throw error;
  }
}

test("R7: a call that no policy of the caller's roles allows is denied, whatever the guardrails say", () => {
  fc.assert(
    fc.property(guardrails, (rules) => {
      const policy = build(rules, []);
      return tools.every(
        (route) => !policy.lists(principal(), route, loopback) && !allows(policy, inA, route, withoutArguments),
      );
    }),
  );
});

test("an additional role never removes a right", () => {
  fc.assert(
    fc.property(guardrails, policies, fc.constantFrom(...everyCall), (rules, drawn, call) => {
      const policy = build(rules, drawn);
      return tools.every((route) => !allows(policy, inA, route, call) || allows(policy, inBoth, route, call));
    }),
  );
});

test("R2 S33: a tool that may be called with some arguments is listed", () => {
  fc.assert(
    fc.property(guardrails, policies, (rules, drawn) => {
      const policy = build(rules, drawn);
      for (const route of tools) {
        const callable = everyCall.some((call) => allows(policy, inA, route, call));
        if (callable) expect(policy.lists(inA, route, loopback)).toBe(true);
      }
    }),
  );
});

test("R2 S33: listed ⇔ some arguments are allowed, if each condition tests its own argument", () => {
  // With at most one rule per path, no two conditions can contradict each other.
  const three = fc.array(rule, { minLength: 1, maxLength: 3 }).map((rules) =>
    rules.map((each, i) => {
      const { when: own, ...rest } = each.rule;
      const fixed = own ? { ...rest, when: { [`args.p${i}`]: Object.values(own)[0] } } : rest;
      return { rule: fixed, guardrail: fixed };
    }),
  );
  fc.assert(
    fc.property(three, (rules) => {
      const policy = build([], [{ role: "a", rules }]);
      for (const route of tools) {
        const callable = everyCall.some((call) => allows(policy, inA, route, call));
        expect(policy.lists(inA, route, loopback)).toBe(callable);
      }
    }),
    { numRuns: 300 },
  );
});

test("the index by literal prefixes finds the same rules for a URI as checking every rule", () => {
  const part = fc.constantFrom("a", "B", "/", "//", "..", "*", "?", "%2e", ":", ":80", "file:", "db:", "@");
  const text = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.array(text, { maxLength: 6 }), text, (globs, uri) => {
      const rules = globs.map((resource) => ({ resource, action: "deny" }));
      const given = policiesOptions.parse([{ id: "p", roles: ["reader"], rules: [...rules, { action: "allow" }] }]);
      const { bundle } = compileBundle({ rules: [], policies: given });
      const [route, readings] = [plainRoute("resource", "s", uri), readingsOf(uri)];
      const [policy] = bundle.policies;
      const selected = policy?.rules.filter((rule) => rule.selects(route, readings) !== false);
      expect(policy?.about(readings).filter((rule) => rule.selects(route, readings) !== false)).toEqual(selected ?? []);
    }),
    { numRuns: 2000 },
  );
});

test("an unlisted URI is checked only against the rules that may select it", () => {
  const rules = Array.from({ length: 10_000 }, (_, i) => ({ resource: `file:///dept${i}/*`, action: "allow" }));
  const { bundle } = compileBundle({
    rules: [],
    policies: policiesOptions.parse([{ id: "p", roles: ["reader"], rules }]),
  });
  const about = (uri: string) => bundle.policies[0]?.about(readingsOf(uri));
  expect(about("file:///dept77/x")?.map(({ id }) => id)).toEqual(["p[77]"]);
  expect(about(`file:///other/${"x/".repeat(1000)}`)).toEqual([]);
});

test("deciding costs the same with 10 and with 10,000 rules", () => {
  const route = makeRoute("crm", "get");
  const call = makeCall({ args: {} });
  const who = principal();
  const contest = [10, 10_000].map((count) => {
    const others = Array.from({ length: count }, (_, i) => ({ tool: `t${i}_*`, action: "allow" }));
    const policy = createPolicy({
      rules: rulesOptions.parse([{ tool: "never", action: "deny" }]),
      policies: policiesOptions.parse([
        { id: "p", roles: ["reader"], rules: [...others, { tool: "get", action: "allow" }] },
      ]),
    });
    return { policy, best: Infinity };
  });
  // Alternating, and taking the best of each, because other work on the machine disturbs both.
  for (let round = 0; round < 40; round++)
    for (const each of contest) {
      const start = performance.now();
      for (let i = 0; i < 1000; i++) each.policy.decide(call, who, route);
      each.best = Math.min(each.best, performance.now() - start);
    }
  const [few, many] = contest.map(({ best }) => best);
  // Linear time would give 1,000.
  expect((many ?? Infinity) / (few ?? 0)).toBeLessThan(20);
});
