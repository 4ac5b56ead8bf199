import { describe, expect, test } from "bun:test";
import { formatPath } from "../../src/core/finding.ts";
import { examine } from "../../src/policy/findings.ts";
import { policiesOptions, rulesOptions } from "../../src/policy/options.ts";
import { createPolicy, PolicyError } from "../../src/policy/policy.ts";
import { makeCall, makeRoute, makeTool, remote } from "../support/call.ts";
import { failureOf } from "../support/failure.ts";
import { ask, type Asked, policyOf, type Rule } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

const allowAll = { action: "allow" };
const denyAll = { action: "deny" };

const allow = (rule: Rule): Rule => ({ ...rule, action: "allow" });

const rows: [law: string, rules: Rule[], policies: Record<string, Rule[]>, asked: Asked, outcome: string][] = [
  ["R7 default deny: no rules at all", [], {}, {}, "hidden null"],
  ["R7 default deny: no rule matches", [], { reader: [allow({ tool: "set_*" })] }, {}, "hidden null"],
  ["a role that no policy names grants nothing", [], { admin: [allowAll] }, {}, "hidden null"],
  ["a caller without roles has no rights", [], { reader: [allowAll] }, { who: principal("key:a", []) }, "hidden null"],
  ["S32 the role * is not a wildcard", [], { reader: [allowAll] }, { who: principal("key:a", ["*"]) }, "hidden null"],
  ["R4 an allow matches by glob", [], { reader: [allow({ tool: "get_*" })] }, {}, "allow reader-policy[0]"],
  ["R4 the first match wins: allow", [], { reader: [allow({ tool: "get_*" }), denyAll] }, {}, "allow reader-policy[0]"],
  ["R4 the first match wins: deny", [], { reader: [denyAll, allow({ tool: "get_*" })] }, {}, "hidden reader-policy[0]"],
  [
    "wildcards in the middle of a glob match",
    [],
    { reader: [allow({ tool: "g*_u*r" })] },
    {},
    "allow reader-policy[0]",
  ],
  ["globs are case-sensitive", [], { reader: [allow({ tool: "GET_*" })] }, {}, "hidden null"],
  ["R5 an allow for a matching server", [], { reader: [allow({ server: "cr?" })] }, {}, "allow reader-policy[0]"],
  ["R5 an allow for another server", [], { reader: [allow({ server: "files" })] }, {}, "hidden null"],
  ["the short form server:tool", [], { reader: [allow({ tool: "crm:get_*" })] }, {}, "allow reader-policy[0]"],
  ["the short form with another server", [], { reader: [allow({ tool: "files:*" })] }, {}, "hidden null"],
  [
    "with server given, a colon belongs to the tool",
    [],
    { reader: [allow({ server: "crm", tool: "x:get_user" })] },
    {},
    "hidden null",
  ],
  ["a rule without a kind selects all kinds", [], { reader: [allowAll] }, {}, "allow reader-policy[0]"],
  ["a prompt rule never grants a tool", [], { reader: [allow({ prompt: "*" })] }, {}, "hidden null"],
  ["a resource rule never grants a tool", [], { reader: [allow({ resource: "*" })] }, {}, "hidden null"],
  ["a configured id names the rule", [], { reader: [{ ...allowAll, id: "all" }] }, {}, "allow all"],
  [
    "roles add up: an allow overrides another policy's deny",
    [],
    { reader: [denyAll], writer: [allowAll] },
    { who: principal("key:a", ["reader", "writer"]) },
    "allow writer-policy[0]",
  ],
  ["a guardrail deny is final", [denyAll], { reader: [allowAll] }, {}, "hidden rules[0]"],
  ["a guardrail allow never grants", [allowAll], {}, {}, "hidden null"],
  [
    "a guardrail allow ends the guardrails",
    [{ ...allowAll, priority: 9 }, denyAll],
    { reader: [allowAll] },
    {},
    "allow reader-policy[0]",
  ],
  [
    "R84 guardrails apply by priority",
    [allow({ priority: 1 }), { ...denyAll, priority: 2 }],
    { reader: [allowAll] },
    {},
    "hidden rules[1]",
  ],
  [
    "at equal priority a deny comes first",
    [allow({ priority: 5 }), { ...denyAll, priority: 5 }],
    { reader: [allowAll] },
    {},
    "hidden rules[1]",
  ],
  [
    "FIELD T7 guardrails that only deny, deny only what they match",
    [{ tool: "*drop*", action: "deny" }],
    { reader: [allowAll] },
    {},
    "allow reader-policy[0]",
  ],
];

test.each(rows)("%s", (_law, rules, policies, asked, outcome) => {
  expect(ask(policyOf(rules, policies), asked)).toBe(outcome);
});

test.each<[what: string, rule: Rule, outcome: string]>([
  ["a bare allow does not", {}, "hidden null"],
  ["a glob for all servers does not", { server: "*" }, "hidden null"],
  ["a glob that happens to match does not", { server: "mcp*" }, "hidden null"],
  ["a rule that names the server does", { server: "mcpgw" }, "allow reader-policy[0]"],
  ["a rule with the short form does", { tool: "mcpgw:audit_*" }, "allow reader-policy[0]"],
])("granting the gateway's own tools: %s", (_what, rule, outcome) => {
  expect(ask(policyOf([], { reader: [allow(rule)] }), { on: "mcpgw:audit_log" })).toBe(outcome);
});

test("one of a policy's roles is enough", () => {
  const policies = policiesOptions.parse([{ id: "p", roles: ["reader", "writer"], rules: [allowAll] }]);
  const policy = createPolicy({ rules: [], policies });
  const outcomes = [["reader"], ["other", "writer"], ["other"], []].map((roles) =>
    ask(policy, { who: principal("key:a", roles) }),
  );
  expect(outcomes).toEqual(["allow p[0]", "allow p[0]", "hidden null", "hidden null"]);
});

test("the roles a and b are not the same as one role named a,b", () => {
  const policy = policyOf([], { "a,b": [allowAll] });
  const route = makeRoute("crm", "get");
  const listed = [["a,b"], ["a", "b"], ["b", "a,b"]].map((roles) => policy.lists(principal("key:a", roles), route));
  expect(listed).toEqual([true, false, true]);
});

test("of several denials, the one of the first policy is reported", () => {
  const policy = policyOf([], { reader: [{ ...denyAll, id: "one" }], writer: [{ ...denyAll, id: "two" }] });
  expect(ask(policy, { who: principal("key:a", ["reader", "writer"]) })).toBe("hidden one");
});

test("judge names the denying rule, with and without arguments", () => {
  const policy = policyOf([], { reader: [{ ...denyAll, id: "closed" }], writer: [{ tool: "other", action: "allow" }] });
  const who = principal("key:a", ["reader", "writer"]);
  for (const args of [null, {}]) {
    const judged = policy.judge(who, remote, makeRoute("crm", "get_user"), args);
    expect(judged).toEqual({ allowed: false, rule: "closed", reason: "denied" });
  }
});

const own = { "args.customerId": { eq: "${principal.consumerId}" } };
const me = principal("key:k1");

describe("source and server", () => {
  const local = policyOf([], { reader: [{ when: { "source.loopback": { eq: true } }, action: "allow" }] });
  test("conditions on the source apply to lists and to calls", () => {
    expect(ask(local)).toBe("allow reader-policy[0]");
    expect(ask(local, { source: remote })).toBe("hidden null");
  });
  test("a list without a source shows nothing that depends on the source", () => {
    expect(local.lists(principal(), makeRoute("crm", "x"))).toBe(false);
  });
  test("sourceKey distinguishes sources only by the properties that rules test", () => {
    const rule = (when: Rule) => ({ when, action: "allow" });
    const loopback = { "source.loopback": { eq: true } };
    const ip = { "source.ip": { glob: "192.*" } };
    for (const of of [(when: Rule) => policyOf([], { reader: [rule(when)] }), (when: Rule) => policyOf([rule(when)])]) {
      const places = (when: Rule) =>
        new Set([remote, { ...remote, ip: "192.0.2.2" }, { ...remote, loopback: true }].map(of(when).sourceKey)).size;
      expect([{}, loopback, ip, { ...loopback, ...ip }].map(places)).toEqual([1, 2, 2, 3]);
    }
  });
  test("a condition can test the server", () => {
    const policy = policyOf([], { reader: [{ when: { "server.id": { in: ["crm"] } }, action: "allow" }] });
    expect([ask(policy), ask(policy, { on: "files:x" })]).toEqual(["allow reader-policy[0]", "hidden null"]);
  });
});

test("a denied caller is told the rule, the reason and what to change", () => {
  const policy = policyOf(
    [{ id: "no-prod", when: { "args.env": { eq: "prod" } }, action: "deny", reason: "production is closed" }],
    { reader: [{ when: own, action: "allow" }] },
  );
  const refusal = (args: unknown) => failureOf(() => policy.decide(makeCall({ args }), me, makeRoute("crm", "get")));
  const byRule = refusal({ env: "prod", customerId: "consumer-k1" });
  expect([byRule.code, byRule.detail.rule]).toEqual(["denied", "no-prod"]);
  expect(byRule.message).toBe(
    'Denied by rule no-prod: production is closed. The rule denies calls if args.env eq "prod" (or if a value is missing, unclear or of another type).',
  );
  expect(refusal({ env: "test", customerId: "other" }).message).toBe(
    'Denied: no rule allows it. Calls are allowed if args.customerId eq "consumer-k1".',
  );
});

test("a denied caller is referred to the operator if no rule says what to change", () => {
  const policy = policyOf(
    [
      { when: own, action: "allow", priority: 1 },
      { id: "closed", action: "deny" },
    ],
    { reader: [allowAll] },
  );
  const refusal = failureOf(() => policy.decide(makeCall({ args: {} }), me, makeRoute("crm", "get")));
  expect(refusal.message).toBe("Denied by rule closed. Ask the operator of the gateway for access.");
});

test.each([
  ["Ask in #data", "Ask in #data."],
  ["Ask in #data.", "Ask in #data."],
  ["Really? ", "Really?"],
  ["Stop!", "Stop!"],
])("a reason %p gets a full stop if it has none", (reason, said) => {
  const policy = policyOf([{ id: "closed", when: own, action: "deny", reason }], { reader: [allowAll] });
  const args = { customerId: "consumer-k1" };
  const { message } = failureOf(() => policy.decide(makeCall({ args }), me, makeRoute("crm", "get")));
  expect(message).toStartWith(`Denied by rule closed: ${said} The rule denies calls if `);
});

test("a hidden tool is refused like a missing one, and the record holds the rule", () => {
  const policy = policyOf([{ id: "secret", tool: "get_*", action: "deny" }], { reader: [allowAll] });
  const call = makeCall({ name: "crm__get_user" });
  const failure = failureOf(() => policy.decide(call, me, makeRoute("crm", "get_user")));
  expect([failure.code, failure.message, failure.detail]).toEqual(["unknown-tool", "Unknown tool: crm__get_user", {}]);
  expect(call.verdict).toEqual({ rule: "secret", reason: "denied" });
});

test("S11: a tool's own annotations do not affect decisions", () => {
  const policy = policyOf([], { reader: [{ tool: "read_*", action: "allow" }] });
  const plain = makeRoute("crm", "drop");
  const friendly = {
    ...plain,
    tool: { ...makeTool("drop"), text: '{"name":"drop","annotations":{"readOnlyHint":true}}' },
  };
  expect(failureOf(() => policy.decide(makeCall(), me, friendly)).code).toBe("unknown-tool");
});

const when = (subject: string, tests: Rule): Rule => ({ when: { [subject]: tests } });

const mistakes: [what: string, rule: Rule, message: string][] = [
  ["two kinds", { tool: "a", prompt: "b" }, "one kind"],
  [
    "a backreference",
    when("args.a", { regex: "(a)\\1" }),
    'rules[0].when["args.a"].regex: is not a regular expression',
  ],
  ["a template in a regex", when("args.a", { regex: "${principal.id}" }), "cannot contain ${principal.…}"],
  ["an unknown template", when("args.a", { eq: "${principal.secret}" }), "does not exist"],
  ["a malformed template", when("args.a", { eq: "${principal.}" }), "malformed"],
  ["an unknown path", when("principal.roles", { eq: "a" }), "does not exist"],
  ["a path to an inherited property", when("principal.toString", { eq: "a" }), "does not exist"],
  ["an inherited property of a source", when("source.constructor", { eq: "a" }), "does not exist"],
  ["no operator", when("args.a", {}), "no operator"],
];

test.each(mistakes)("T40: a rule with %s does not load", (_what, rule, message) => {
  const load = () => policyOf([{ ...rule, action: "deny" }]);
  expect(load).toThrow(PolicyError);
  expect(load).toThrow(message);
});

test("T40: a duplicate rule id does not load, and neither does a condition on arguments of input", () => {
  const rule = { ...denyAll, id: "x" };
  expect(() => policyOf([rule, rule])).toThrow("rules[1].id: rules[0] has this id already");
  expect(() => policyOf([], { reader: [rule, rule] })).toThrow("policies[0].rules[0] has this id already");
  expect(() => policyOf([rule], { reader: [rule] })).toThrow("rules[0] has this id already");
  const question = { ...denyAll, input: "*", when: { "args.a": { exists: true } } };
  expect(() => policyOf([question])).toThrow("input from a server has no args");
  const policies = policiesOptions.parse(["a", "b"].map((role) => ({ id: "same", roles: [role], rules: [] })));
  expect(() => createPolicy({ rules: [], policies })).toThrow("policies[0] has this id already");
});

test("a rule, policy or role without effect is a warning at its location", () => {
  const policies = policiesOptions.parse([
    {
      id: "p",
      roles: ["reader"],
      rules: [
        { server: "gone", action: "allow" },
        { tool: "*", action: "deny" },
        { tool: "get", action: "allow" },
      ],
    },
    { id: "q", roles: ["nobody"], rules: [{ server: "mcpgw", action: "deny" }] },
  ]);
  const carriers = [
    { path: ["a"], roles: ["reader", "writer"] },
    { path: ["b"], roles: ["writer"] },
  ];
  expect(examine({ rules: [], policies, servers: ["crm"], carriers })).toEqual({
    problems: [],
    warnings: [
      { path: ["a", 1], message: 'no policy names the role "writer": it grants nothing' },
      {
        path: ["policies", 1],
        message: '"q" allows nothing: whatever no policy allows is denied anyway',
      },
      { path: ["policies", 0, "rules", 2], message: "never matches: rule p[1] is earlier and matches the same calls" },
      {
        path: ["policies", 0, "rules", 0, "server"],
        message: 'there is no server "gone": this rule never matches',
      },
    ],
  });
});

test("an allow in the guardrails without any policies is a warning", () => {
  const rules = rulesOptions.parse([
    { server: "crm", action: "deny" },
    { server: "files", action: "allow" },
  ]);
  const policies = policiesOptions.parse([{ id: "p", roles: ["r"], rules: [allowAll] }]);
  const message = "grants nothing, because it is a guardrail and there are no policies: every call is denied";
  const told = (given: typeof policies) =>
    examine({ rules, policies: given, servers: ["crm", "files"], carriers: [] }).warnings;
  expect(told([])).toEqual([{ path: ["rules", 1], message }]);
  expect(told(policies)).toEqual([]);
});

test("an operand that looks like a glob or a network but is compared literally is a warning", () => {
  const when = {
    "args.path": { eq: "/etc/*", glob: "/etc/*" },
    "args.table": { notIn: ["salar*", "*", "**", "*/", 5], neq: "SELECT * FROM x" },
    "source.ip": { in: ["10.0.0.1", "10.0.0.0/8"], glob: "10.*" },
  };
  const rules = rulesOptions.parse([{ when, action: "deny" }]);
  const { warnings } = examine({ rules, policies: [], servers: [], carriers: [] });
  const literal = "is compared literally; only the operator glob treats * as a wildcard";
  expect(warnings.map(({ path, message }) => [formatPath(path), message])).toEqual([
    ['rules[0].when["args.path"].eq', literal],
    ['rules[0].when["args.table"].notIn[0]', literal],
    [
      'rules[0].when["source.ip"].in[1]',
      'networks are not supported here; write addresses, or a glob as { glob: "10.*" }',
    ],
  ]);
});

test("a rule for every server makes a later rule unreachable, but not one for the gateway's own server", () => {
  const rules = (server: string): string[] => {
    const [first, second] = [{ server: "*", action: "allow" } as const, { server, action: "deny" } as const];
    const policies = policiesOptions.parse([{ id: "p", roles: ["r"], rules: [first, second] }]);
    return examine({ rules: [], policies, servers: ["crm"], carriers: [] }).warnings.map(({ path }) =>
      formatPath(path),
    );
  };
  expect([rules("crm"), rules("mcpgw")]).toEqual([["policies[0].rules[1]"], []]);
});

test("warnings about stored keys' roles are reported, and roles from the file are not reported again", () => {
  const policies = policiesOptions.parse([
    { id: "p", roles: ["reader"], rules: [allowAll] },
    { id: "q", roles: ["nobody", "none"], rules: [allowAll] },
    { id: "a", roles: ["admin"], rules: [allowAll] },
  ]);
  const policy = createPolicy({ rules: [], policies });
  const idle = "policy q applies to nobody: no caller has the role nobody or none";
  expect(policy.warnings(["reader", "writer"], ["writer", "ghost", "ghost"])).toEqual([
    'no policy names the role "ghost": it grants nothing',
    idle,
  ]);
  // Local administrators have the role admin without a key.
  expect(policy.warnings([], ["reader"])).toEqual([idle]);
  expect(policy.warnings(["none"], ["reader"])).toEqual([]);
});
