import { expect, test } from "bun:test";
import type { Config } from "../../src/config/schema.ts";
import { unoffered } from "../../src/gateway/unoffered.ts";
import { createPolicy } from "../../src/policy/policy.ts";
import { makeTool } from "../support/call.ts";
import { buildCatalog } from "../support/catalog.ts";
import { loadText } from "../support/config.ts";
import { serverStatus } from "../support/server-status.ts";

const takes = (name: string, ...args: string[]) =>
  makeTool(name, { type: "object", properties: Object.fromEntries(args.map((each) => [each, {}])) });
const served = {
  git: { tools: [takes("git_log", "max_count"), takes("git_reset", "repo"), "anything"], prompts: ["review"] },
  files: { tools: [takes("read", "path"), takes("write", "path", "content")] },
  odd: {
    tools: [takes("get")],
    missing: [{ list: "tools" as const, name: "hidden", reason: "its inputSchema is no object" }],
  },
  long: { tools: ["get"], missing: [{ list: "tools" as const, name: null, reason: "more than 100 pages" }] },
  mcpgw: { tools: [takes("audit_log", "limit"), "usage"] },
  half: {
    tools: [takes("get", "a")],
    missing: [{ list: "prompts" as const, name: null, reason: "prompts/list: -32603" }],
  },
  fresh: {},
};
const upstreams = {
  status: () => [
    ...["git", "files", "odd", "long", "half"].map((id) => serverStatus(id, { listedAt: 1 })),
    serverStatus("fresh", { state: "starting" }),
  ],
};

const namesOf = (config: Config) => () => ({ ...config, rules: createPolicy(config).mentions() });

/** Returns the warnings about a configuration with these parts. */
function told(parts: Record<string, unknown>, offered: Parameters<typeof buildCatalog>[0] = served): string[] {
  const ids = Object.keys(served).filter((id) => id !== "mcpgw");
  const servers = ids.map((id) => ({ id, command: "true" }));
  const { config } = loadText(JSON.stringify({ servers, ...parts }));
  return [
    ...unoffered(namesOf(config), { catalog: buildCatalog(offered, { toolsets: config.toolsets }), upstreams })(),
  ];
}
const deny = { action: "deny" };

test("warns about a rule for a tool or prompt that its server lacks, and suggests the nearest name", () => {
  const rules = [
    { server: "git", tool: "git_rest", ...deny },
    { tool: "git:git_rest", ...deny },
    { server: "git", prompt: "reveiw", ...deny },
    { server: "git", tool: "git_log", ...deny },
    { server: "odd", tool: "hidden", ...deny },
  ];
  const lacks = (at: string, kind: string, name: string, meant: string) =>
    `${at}: server git currently lists no ${kind} "${name}", at least not to every caller; did you mean ${meant}?`;
  expect(told({ rules })).toEqual([
    lacks("rules[0].tool", "tool", "git_rest", "git_reset"),
    lacks("rules[1].tool", "tool", "git_rest", "git_reset"),
    lacks("rules[2].prompt", "prompt", "reveiw", "review"),
  ]);
  const policies = [{ id: "p", roles: ["admin"], rules: [{ action: "allow" }, { tool: "git:git_rest", ...deny }] }];
  expect(told({ policies })).toEqual([lacks("policies[0].rules[1].tool", "tool", "git_rest", "git_reset")]);
});

test("warns about a rule for a tool that the gateway itself lacks, but not about its capabilities", () => {
  const names = ["audit_lgo", "audit_log", "metrics", "status", "audit_all", "audit_*"];
  const rules = names.map((tool) => ({ server: "mcpgw", tool, ...deny }));
  expect(told({ rules })).toEqual([
    'rules[0].tool: server mcpgw currently lists no tool "audit_lgo", at least not to every caller; did you mean audit_log?',
  ]);
  const { mcpgw: _tools, ...off } = served;
  expect(told({ rules }, off)).toEqual([]);
});

test("does not warn about globs, rules for every server, URIs, or servers that are not fully known", () => {
  const rules = [
    { server: "git", tool: "*drop*", ...deny },
    { tool: "drop", ...deny },
    { server: "long", tool: "drop", ...deny },
    { server: "fresh", tool: "drop", ...deny },
    { server: "mcpgw", tool: "metrics", ...deny },
    { server: "git", resource: "git://x", when: { "args.nothing": { eq: 1 } }, ...deny },
  ];
  const toolsets = [
    { id: "a", include: ["fresh:get"] },
    { id: "b", include: ["git:git://x"] },
    { id: "c", include: ["long:drop"] },
  ];
  expect(told({ rules, toolsets })).toEqual([]);
});

test("does not check names of a kind whose list is not available, but checks others", () => {
  const rules = [
    { server: "half", tool: "gte", ...deny },
    { server: "half", prompt: "reveiw", ...deny },
    { server: "half", tool: "get", when: { "args.b": { eq: 1 } }, ...deny },
    { server: "half", when: { "args.b": { eq: 1 } }, ...deny },
  ];
  const toolsets = [
    { id: "a", include: ["half:reveiw"] },
    { id: "b", include: ["half:x*"] },
  ];
  const perTool = [{ tool: "half:gte", perMinute: 1 }];
  expect(told({ rules, toolsets, limits: { perMinute: 9, perTool } }).map((each) => each.split(":")[0])).toEqual([
    "rules[0].tool",
    'rules[2].when["args.b"]',
    "limits.perTool[0].tool",
  ]);
});

test("warns about a condition on an argument that no tool of the rule takes", () => {
  const when = (name: string) => ({ when: { [`args.${name}`]: { eq: "x" } }, ...deny });
  const rules = [
    { server: "git", tool: "git_log", ...when("maxcount") },
    { server: "files", ...when("pth.0") },
    { server: "files", tool: "r*", ...when("file") },
    { server: "files", ...when("content") },
    // This tool takes any argument, prompts have arguments too, and nothing is known about hidden tools.
    { server: "git", tool: "anything", ...when("x") },
    { server: "git", ...when("x") },
    { server: "odd", tool: "*", ...when("x") },
  ];
  expect(told({ rules })).toEqual([
    'rules[0].when["args.maxcount"]: git:git_log does not currently take an argument "maxcount"; did you mean max_count?',
    'rules[1].when["args.pth.0"]: no tool of server files currently takes an argument "pth"; did you mean path?',
    'rules[2].when["args.file"]: no tool of server files currently takes an argument "file"',
  ]);
});

test("does not check a schema that may take more arguments than it names", () => {
  const open = [{ additionalProperties: true }, { allOf: [{}] }, { patternProperties: { "^x": {} } }, { $ref: "#" }];
  for (const more of open) {
    const tools = [makeTool("get", { type: "object", properties: { a: {} }, ...more })];
    const { config } = loadText(
      JSON.stringify({
        servers: [{ id: "one", command: "true" }],
        rules: [{ server: "one", tool: "get", when: { "args.b": { eq: 1 } }, ...deny }],
      }),
    );
    const status = () => [serverStatus("one", { listedAt: 1 })];
    const sources = { catalog: buildCatalog({ one: { tools } }), upstreams: { status } };
    expect(unoffered(namesOf(config), sources)()).toEqual([]);
  }
});

test("checks limits and toolsets in the same way, and warns about an empty toolset", () => {
  const perTool = [
    { tool: "git:gitlog", perMinute: 1 },
    { tool: "git_log", server: "git", perMinute: 1 },
  ];
  const toolsets = [
    { id: "a", include: ["git:git_log", "git:reveiw"], exclude: ["git:git_rest"], rename: { "git:gitlog": "log" } },
    { id: "b", include: ["files:*"], exclude: ["files:*"] },
    { id: "c", include: ["git:review"] },
  ];
  expect(told({ limits: { perMinute: 9, perTool }, toolsets }).map((each) => each.split("; ")[0])).toEqual([
    'limits.perTool[0].tool: server git currently lists no tool "gitlog", at least not to every caller',
    'toolsets[0].include[1]: server git currently lists no tool or prompt "reveiw", at least not to every caller',
    'toolsets[0].exclude[0]: server git currently lists no tool or prompt "git_rest", at least not to every caller',
    'toolsets[0].rename["git:gitlog"]: server git currently lists no tool or prompt "gitlog", at least not to every caller',
    "toolsets[1]: selects nothing that its servers currently list to every caller",
  ]);
});

test("counts the findings above the maximum", () => {
  const rules = Array.from({ length: 25 }, (_, index) => ({ server: "git", tool: `gone_${index}`, ...deny }));
  const all = told({ rules });
  expect(all).toHaveLength(21);
  expect(all.at(-1)).toBe("other names in rules, limits and toolsets that currently match nothing: 5");
});

test("computes the warnings again for a new catalog", () => {
  const { config } = loadText(
    JSON.stringify({
      servers: [{ id: "one", command: "true" }],
      rules: [{ server: "one", tool: "get", ...deny }],
    }),
  );
  const sources = {
    catalog: buildCatalog({ one: {} }),
    upstreams: { status: () => [serverStatus("one", { listedAt: 1 })] },
  };
  const missed = unoffered(namesOf(config), sources);
  expect(missed()).toHaveLength(1);
  sources.catalog = buildCatalog({ one: { tools: ["get"] } });
  expect(missed()).toEqual([]);
});
