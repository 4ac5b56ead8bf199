import { describe, expect, test } from "bun:test";
import type { Kind, Route } from "../../src/core/call.ts";
import { formatPath } from "../../src/core/finding.ts";
import { inputMethods } from "../../src/core/inbound.ts";
import { mayUse } from "../../src/core/rights.ts";
import type { Source } from "../../src/core/principal.ts";
import { examine } from "../../src/policy/findings.ts";
import { rulesOptions } from "../../src/policy/options.ts";
import { loopback, makeCall, makeRoute, remote } from "../support/call.ts";
import { failureOf } from "../support/failure.ts";
import { fastest } from "../support/fastest.ts";
import { policyOf, type Rule } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

const who = principal();
const route = (kind: Kind, name: string, server = "crm"): Route => ({ ...makeRoute(server, name), kind, tool: null });
const template = (text: string): Route => ({ ...route("resource", text), wire: text, template: true });

const requests = {
  tool: ["tools/call", "name"],
  prompt: ["prompts/get", "name"],
  resource: ["resources/read", "uri"],
  extension: ["skills/get", "name"],
} as const;

/** Returns the outcome of a request: the rule that allows it, or the code of the refusal. */
function outcome(
  rules: Rule[],
  to: Route,
  params: Record<string, unknown> = {},
  method: string = requests[to.kind][0],
): string {
  const policy = policyOf([], { reader: rules });
  const call = makeCall({ method });
  Object.assign(call.inbound, { params: { [requests[to.kind][1]]: to.wire, ...params } });
  try {
    return `${policy.decide(call, who, to).rule}`;
  } catch (error) {
    return failureOf(() => {
      throw error;
    }).code;
  }
}

describe("kinds", () => {
  const unknown = {
    tool: "unknown-tool",
    prompt: "unknown-prompt",
    resource: "unknown-resource",
    extension: "unknown-method",
  };
  const kinds = ["tool", "prompt", "resource", "extension"] as const;
  for (const kind of kinds) {
    test(`a rule of another kind never grants a ${kind}, but a rule without a kind does`, () => {
      for (const other of ["tool", "prompt", "resource"] as const) {
        const said = outcome([{ [other]: "*", action: "allow" }], route(kind, "x"));
        expect(said).toBe(other === kind ? "reader-policy[0]" : unknown[kind]);
      }
      expect(outcome([{ action: "allow" }], route(kind, "x"))).toBe("reader-policy[0]");
      expect(outcome([{ server: "files", action: "allow" }], route(kind, "x"))).toBe(unknown[kind]);
    });
  }
  test("server:prompt names the server and the prompt, but a colon in a URI does not separate a server", () => {
    expect(outcome([{ prompt: "crm:p*", action: "allow" }], route("prompt", "px"))).toBe("reader-policy[0]");
    expect(outcome([{ prompt: "files:p*", action: "allow" }], route("prompt", "px"))).toBe("unknown-prompt");
    expect(outcome([{ resource: "crm:x", action: "allow" }], route("resource", "x"))).toBe("unknown-resource");
    expect(outcome([{ resource: "file:///a*", action: "allow" }], route("resource", "file:///ab"))).toBe(
      "reader-policy[0]",
    );
  });
  test("a hidden thing is refused like a missing one, under the name that the caller sent", () => {
    const policy = policyOf([], {});
    const refusal = (to: Route, method: string, params: Record<string, unknown>) => {
      const call = makeCall({ method });
      Object.assign(call.inbound, { params });
      return failureOf(() => policy.decide(call, who, to));
    };
    expect(refusal(route("prompt", "p"), "prompts/get", { name: "asked" }).message).toBe("Unknown prompt: asked");
    const uri = refusal(route("resource", "db://own"), "resources/read", { uri: "mcpgw+crm:db://own" });
    expect([uri.message, uri.detail]).toEqual([
      "Resource not found: mcpgw+crm:db://own",
      { data: { uri: "mcpgw+crm:db://own" } },
    ]);
    const ref = { ref: { type: "ref/prompt", name: "asked" }, name: "other" };
    expect(refusal(route("prompt", "p"), "completion/complete", ref).message).toBe("Unknown prompt: asked");
    expect(refusal(route("extension", "skills/get"), "skills/get", { name: "n" }).code).toBe("unknown-method");
  });
});

describe("conditions on args test", () => {
  const when = (path: string, value: unknown): Rule => ({ when: { [path]: { eq: value } }, action: "allow" });
  test("a prompt's arguments", () => {
    expect(outcome([when("args.a", "1")], route("prompt", "p"), { arguments: { a: "1" } })).toBe("reader-policy[0]");
    expect(outcome([when("args.a", "1")], route("prompt", "p"), { arguments: { a: "2" } })).toBe("denied");
  });
  test("a resource's URI, as its server knows it", () => {
    const to = { ...route("resource", "db://a"), wire: "mcpgw+crm:db://a" };
    expect(outcome([when("args.uri", "db://a")], to)).toBe("reader-policy[0]");
    expect(outcome([when("args.uri", "db://b")], to)).toBe("denied");
  });
  test("an ambiguous URI, which is allowed only if all of its possible meanings are", () => {
    const srv = [{ resource: "file:///srv/*", action: "allow" }];
    for (const way of ["..", ".", "%2e%2E", ".%2e"]) {
      const uri = `file:///srv/${way}/etc/passwd`;
      expect([way, outcome(srv, route("resource", uri))]).toEqual([way, "denied"]);
      expect(outcome([{ resource: "file:///*", action: "allow" }], route("resource", uri))).toBe("reader-policy[0]");
      const never = [{ resource: "file:///etc/*", action: "deny" }, { action: "allow" }];
      expect(outcome(never, route("resource", uri))).toBe("denied");
    }
    for (const uri of ["file:///srv/..a/b", "file:///srv/a..", "file:///srv/...", "file:///srv/.hidden"])
      expect(outcome(srv, route("resource", uri))).toBe("reader-policy[0]");
  });
  test("an extension's parameters", () => {
    expect(outcome([when("args.name", "n")], route("extension", "skills/get"), { name: "n" })).toBe("reader-policy[0]");
  });
  test("nothing for a completion, so every condition on args counts against it", () => {
    const ref = { ref: { type: "ref/prompt", name: "p" }, argument: { name: "a", value: "1" }, arguments: { a: "1" } };
    expect(outcome([{ prompt: "p", action: "allow" }], route("prompt", "p"), ref, "completion/complete")).toBe(
      "reader-policy[0]",
    );
    expect(outcome([when("args.a", "1")], route("prompt", "p"), ref, "completion/complete")).toBe("denied");
    for (const exists of [true, false]) {
      const given = { "args.a": { exists } };
      const rules: Rule[][] = [
        [{ when: given, action: "allow" }],
        [{ when: given, action: "deny" }, { action: "allow" }],
      ];
      for (const each of rules) expect(outcome(each, route("prompt", "p"), ref, "completion/complete")).toBe("denied");
    }
    const some = [{ resource: "file:///srv/*", action: "allow" }];
    expect(outcome(some, template("file:///srv/{x}"), {}, "completion/complete")).toBe("reader-policy[0]");
    expect(outcome(some, template("file:///{+x}"), {}, "completion/complete")).toBe("denied");
    expect(outcome(some, template("db://{x}"), {}, "completion/complete")).toBe("unknown-resource");
    const others = [{ resource: "*://secret/*", action: "deny" }, { action: "allow" }];
    expect(outcome(others, template("db://ok/{x}"), {}, "completion/complete")).toBe("reader-policy[1]");
    expect(outcome(others, template("db://{+x}"), {}, "completion/complete")).toBe("denied");
  });
});

test("judge returns the decision of decide, without a call", () => {
  const policy = policyOf([], {
    reader: [
      { id: "mine", when: { "args.a": { eq: 1 } }, action: "allow", reason: "yours" },
      { id: "near", tool: "n", when: { "source.loopback": { eq: true } }, action: "allow" },
    ],
  });
  expect(policy.judge(who, loopback, route("tool", "t"), { a: 1 })).toEqual({
    allowed: true,
    rule: "mine",
    reason: "yours",
  });
  expect(policy.judge(who, loopback, route("tool", "t"), {})).toEqual({
    allowed: false,
    rule: null,
    reason: "no rule allows it",
  });
  expect(policy.judge(who, loopback, route("tool", "t"), null)).toMatchObject({ allowed: true, rule: "mine" });
  expect(policy.judge(who, loopback, route("tool", "n"), {})).toMatchObject({ allowed: true, rule: "near" });
  expect(policy.judge(who, null, route("tool", "n"), {})).toMatchObject({ allowed: false });
});

describe("input: servers' questions to callers", () => {
  const rules = [
    { id: "safe", input: "elicitation/*", server: "crm", priority: 1, action: "allow" },
    { id: "no-sampling", input: "sampling/*", action: "deny", reason: "no model of ours" },
    { id: "far", input: "*", when: { "source.loopback": { eq: false } }, action: "deny" },
  ];
  const policy = policyOf(rules, { reader: [{ action: "allow" }] });
  const rows: [
    server: string,
    method: (typeof inputMethods)[number],
    source: Source,
    allowed: boolean,
    rule: string | null,
  ][] = [
    ["crm", "elicitation/create", loopback, true, "safe"],
    ["crm", "elicitation/create", remote, true, "safe"],
    ["crm", "sampling/createMessage", loopback, false, "no-sampling"],
    ["files", "elicitation/create", loopback, true, null],
    ["files", "elicitation/create", remote, false, "far"],
    ["files", "roots/list", loopback, true, null],
  ];
  test.each(rows)("%s %s", (server, method, source, allowed, rule) => {
    expect(policy.admitsInput(who, source, server, method)).toMatchObject({ allowed, rule });
  });
  test("the reason comes from the rule", () => {
    expect(policy.admitsInput(who, loopback, "crm", "sampling/createMessage").reason).toBe("no model of ours");
  });
  test("a rule with input matches nothing else", () => {
    const above = policyOf([{ input: "*", action: "deny" }], { reader: [{ action: "allow" }] });
    for (const kind of ["tool", "prompt", "resource", "extension"] as const)
      expect(above.lists(who, route(kind, "x"), loopback)).toBe(true);
    const tools = policyOf([{ action: "deny" }], { reader: [{ action: "allow" }] });
    expect(tools.admitsInput(who, loopback, "crm", "roots/list")).toMatchObject({ allowed: true });
  });
  test("the digest covers rules with input", () => {
    const one = { tool: "a", action: "deny" };
    expect(policyOf([one, { input: "roots/list", action: "deny" }]).digest).not.toBe(policyOf([one]).digest);
    expect(policyOf([{ input: "roots/list", action: "deny" }]).digest).not.toBe(
      policyOf([{ input: "*", action: "deny" }]).digest,
    );
  });
  test("a rule that never matches is a warning", () => {
    const rules = rulesOptions.parse([
      { id: "typo", input: "elicit/*", action: "deny" },
      { id: "all", input: "*", action: "deny" },
      { id: "late", input: "roots/list", action: "deny" },
      { id: "gone", input: "roots/list", server: "gone", action: "deny", priority: 9 },
      { id: "prompts", prompt: "nowhere:*", action: "deny" },
      { id: "globs", tool: "cr?:*", action: "deny" },
    ]);
    const { warnings } = examine({ rules, policies: [], servers: ["crm"], carriers: [] });
    expect(warnings.map(({ path, message }) => [formatPath(path), message])).toEqual([
      [
        "rules[0].input",
        "never matches: servers send only elicitation/create, sampling/createMessage, roots/list, never elicit/*",
      ],
      ["rules[2]", "never matches: rule all is earlier and matches the same calls"],
      ["rules[4].prompt", 'there is no server "nowhere": this rule never matches'],
      ["rules[3].server", 'there is no server "gone": this rule never matches'],
    ]);
  });
});

test("whether a caller has any right on a server is not computed again for each handshake", () => {
  const servers = Array.from({ length: 100 }, (_, at) => `s${at}`);
  const rules = Array.from({ length: 10_000 }, (_, at) => ({ tool: `s${at % 100}:t${at}`, action: "allow" }));
  const policy = policyOf([], { reader: rules });
  const seen = () => servers.filter((server) => mayUse(policy, who, loopback, server));
  expect(seen()).toEqual(servers);
  expect(fastest(seen)).toBeLessThan(50);
});
