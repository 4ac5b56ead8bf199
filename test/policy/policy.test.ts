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
  ["no roles, no rights", [], { reader: [allowAll] }, { who: principal("key:a", []) }, "hidden null"],
  ["S32 the role * is no wildcard", [], { reader: [allowAll] }, { who: principal("key:a", ["*"]) }, "hidden null"],
  ["R4 an allow by glob", [], { reader: [allow({ tool: "get_*" })] }, {}, "allow reader-policy[0]"],
  ["R4 first match wins: allow", [], { reader: [allow({ tool: "get_*" }), denyAll] }, {}, "allow reader-policy[0]"],
  ["R4 first match wins: deny", [], { reader: [denyAll, allow({ tool: "get_*" })] }, {}, "hidden reader-policy[0]"],
  ["globs in the middle match", [], { reader: [allow({ tool: "g*_u*r" })] }, {}, "allow reader-policy[0]"],
  ["globs are case-sensitive", [], { reader: [allow({ tool: "GET_*" })] }, {}, "hidden null"],
  ["R5 server glob", [], { reader: [allow({ server: "cr?" })] }, {}, "allow reader-policy[0]"],
  ["R5 another server", [], { reader: [allow({ server: "files" })] }, {}, "hidden null"],
  ["shorthand server:tool", [], { reader: [allow({ tool: "crm:get_*" })] }, {}, "allow reader-policy[0]"],
  ["shorthand, another server", [], { reader: [allow({ tool: "files:*" })] }, {}, "hidden null"],
  [
    "with server, a colon is the tool's",
    [],
    { reader: [allow({ server: "crm", tool: "x:get_user" })] },
    {},
    "hidden null",
  ],
  ["a rule without a kind selects all kinds", [], { reader: [allowAll] }, {}, "allow reader-policy[0]"],
  ["a prompt rule never grants a tool", [], { reader: [allow({ prompt: "*" })] }, {}, "hidden null"],
  ["a resource rule never grants a tool", [], { reader: [allow({ resource: "*" })] }, {}, "hidden null"],
  ["a given id names the rule", [], { reader: [{ ...allowAll, id: "all" }] }, {}, "allow all"],
  [
    "roles add up: an allow beats another policy's deny",
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
    "R84 guardrails by priority",
    [allow({ priority: 1 }), { ...denyAll, priority: 2 }],
    { reader: [allowAll] },
    {},
    "hidden rules[1]",
  ],
  [
    "ties: deny first",
    [allow({ priority: 5 }), { ...denyAll, priority: 5 }],
    { reader: [allowAll] },
    {},
    "hidden rules[1]",
  ],
  [
    "FIELD T7 a deny-only guardrail set denies only what it matches",
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
  ["not a bare allow", {}, "hidden null"],
  ["nor a glob for all servers", { server: "*" }, "hidden null"],
  ["nor one that fits by chance", { server: "mcp*" }, "hidden null"],
  ["but one that names them", { server: "mcpgw" }, "allow reader-policy[0]"],
  ["or does so by shorthand", { tool: "mcpgw:audit_*" }, "allow reader-policy[0]"],
])("what grants the gateway's own tools: %s", (_what, rule, outcome) => {
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

test("a role is one text: several of them are not one with commas in it", () => {
  const policy = policyOf([], { "a,b": [allowAll] });
  const route = makeRoute("crm", "get");
  const listed = [["a,b"], ["a", "b"], ["b", "a,b"]].map((roles) => policy.lists(principal("key:a", roles), route));
  expect(listed).toEqual([true, false, true]);
});

test("of several denials the one of the first policy is named", () => {
  const policy = policyOf([], { reader: [{ ...denyAll, id: "one" }], writer: [{ ...denyAll, id: "two" }] });
  expect(ask(policy, { who: principal("key:a", ["reader", "writer"]) })).toBe("hidden one");
});

test("what is judged names the rule that denies it, with arguments and without", () => {
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
  test("conditions on the source hold for lists as for calls", () => {
    expect(ask(local)).toBe("allow reader-policy[0]");
    expect(ask(local, { source: remote })).toBe("hidden null");
  });
  test("a list without a source shows nothing that depends on one", () => {
    expect(local.lists(principal(), makeRoute("crm", "x"))).toBe(false);
  });
  test("where a caller is matters to lists as far as rules test it", () => {
    const rule = (when: Rule) => ({ when, action: "allow" });
    const loopback = { "source.loopback": { eq: true } };
    const ip = { "source.ip": { glob: "192.*" } };
    for (const of of [(when: Rule) => policyOf([], { reader: [rule(when)] }), (when: Rule) => policyOf([rule(when)])]) {
      const places = (when: Rule) =>
        new Set([remote, { ...remote, ip: "192.0.2.2" }, { ...remote, loopback: true }].map(of(when).sourceKey)).size;
      expect([{}, loopback, ip, { ...loopback, ...ip }].map(places)).toEqual([1, 2, 2, 3]);
    }
  });
  test("a condition on the server", () => {
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
    'Denied by rule no-prod: production is closed. It denies calls where args.env eq "prod" (or where that is missing, unclear or of another type).',
  );
  expect(refusal({ env: "test", customerId: "other" }).message).toBe(
    'Denied: no rule allows it. Allowed are calls where args.customerId eq "consumer-k1".',
  );
});

test("a denied caller whom no rule tells what to change is sent to the operator", () => {
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
  expect(message).toStartWith(`Denied by rule closed: ${said} It denies calls where `);
});

test("a hidden tool is refused in the words of a missing one, while the record holds the rule", () => {
  const policy = policyOf([{ id: "secret", tool: "get_*", action: "deny" }], { reader: [allowAll] });
  const call = makeCall({ name: "crm__get_user" });
  const failure = failureOf(() => policy.decide(call, me, makeRoute("crm", "get_user")));
  expect([failure.code, failure.message, failure.detail]).toEqual(["unknown-tool", "Unknown tool: crm__get_user", {}]);
  expect(call.verdict).toEqual({ rule: "secret", reason: "denied" });
});

test("S11: what a tool says of itself decides nothing", () => {
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
  ["a backreference", when("args.a", { regex: "(a)\\1" }), 'rules[0].when["args.a"].regex: no regular expression'],
  ["a template in a regex", when("args.a", { regex: "${principal.id}" }), "takes no ${principal.…}"],
  ["an unknown template", when("args.a", { eq: "${principal.secret}" }), "names nothing"],
  ["a malformed template", when("args.a", { eq: "${principal.}" }), "malformed"],
  ["an unknown path", when("principal.roles", { eq: "a" }), "names nothing"],
  ["a path to what all objects have", when("principal.toString", { eq: "a" }), "names nothing"],
  ["one of a source", when("source.constructor", { eq: "a" }), "names nothing"],
  ["no operator", when("args.a", {}), "no operator"],
];

test.each(mistakes)("T40: a rule with %s does not load", (_what, rule, message) => {
  const load = () => policyOf([{ ...rule, action: "deny" }]);
  expect(load).toThrow(PolicyError);
  expect(load).toThrow(message);
});

test("T40: an id names one rule of all, and a question has no arguments to test", () => {
  const rule = { ...denyAll, id: "x" };
  expect(() => policyOf([rule, rule])).toThrow("rules[1].id: rules[0] has this id already");
  expect(() => policyOf([], { reader: [rule, rule] })).toThrow("policies[0].rules[0] has this id already");
  expect(() => policyOf([rule], { reader: [rule] })).toThrow("rules[0] has this id already");
  const question = { ...denyAll, input: "*", when: { "args.a": { exists: true } } };
  expect(() => policyOf([question])).toThrow("what a server asks has no args");
  const policies = policiesOptions.parse(["a", "b"].map((role) => ({ id: "same", roles: [role], rules: [] })));
  expect(() => createPolicy({ rules: [], policies })).toThrow("policies[0] has this id already");
});

test("what loads without effect is a warning where it stands", () => {
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
      { path: ["policies", 1], message: '"q" allows nothing: what no policy allows is denied anyway' },
      { path: ["policies", 0, "rules", 2], message: "never matches: rule p[1] comes first and matches the same" },
      {
        path: ["policies", 0, "rules", 0, "server"],
        message: 'there is no server "gone": this rule never matches',
      },
    ],
  });
});

test("a guardrail that is taken for a grant is a warning", () => {
  const rules = rulesOptions.parse([
    { server: "crm", action: "deny" },
    { server: "files", action: "allow" },
  ]);
  const policies = policiesOptions.parse([{ id: "p", roles: ["r"], rules: [allowAll] }]);
  const message = "grants nothing, for it is a guardrail, and there are no policies: nobody may do anything";
  const told = (given: typeof policies) =>
    examine({ rules, policies: given, servers: ["crm", "files"], carriers: [] }).warnings;
  expect(told([])).toEqual([{ path: ["rules", 1], message }]);
  expect(told(policies)).toEqual([]);
});

test("an operand that is compared otherwise than it reads is a warning", () => {
  const when = {
    "args.path": { eq: "/etc/*", glob: "/etc/*" },
    "args.table": { notIn: ["salar*", "*", "**", "*/", 5], neq: "SELECT * FROM x" },
    "source.ip": { in: ["10.0.0.1", "10.0.0.0/8"], glob: "10.*" },
  };
  const rules = rulesOptions.parse([{ when, action: "deny" }]);
  const { warnings } = examine({ rules, policies: [], servers: [], carriers: [] });
  const literal = "is compared as it stands; only the operator glob takes * for a wildcard";
  expect(warnings.map(({ path, message }) => [formatPath(path), message])).toEqual([
    ['rules[0].when["args.path"].eq', literal],
    ['rules[0].when["args.table"].notIn[0]', literal],
    [
      'rules[0].when["source.ip"].in[1]',
      'networks are not understood here; write addresses, or a glob as { glob: "10.*" }',
    ],
  ]);
});

test("a rule for every server takes nothing from one for the gateway's own, and all from one for another", () => {
  const rules = (server: string): string[] => {
    const [first, second] = [{ server: "*", action: "allow" } as const, { server, action: "deny" } as const];
    const policies = policiesOptions.parse([{ id: "p", roles: ["r"], rules: [first, second] }]);
    return examine({ rules: [], policies, servers: ["crm"], carriers: [] }).warnings.map(({ path }) =>
      formatPath(path),
    );
  };
  expect([rules("crm"), rules("mcpgw")]).toEqual([["policies[0].rules[1]"], []]);
});

test("what stored keys change is told when asked for; the roles that the file gives are not said again", () => {
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
  // Local administrators have their role without a key.
  expect(policy.warnings([], ["reader"])).toEqual([idle]);
  expect(policy.warnings(["none"], ["reader"])).toEqual([]);
});
