import { expect, test } from "bun:test";
import { Keyring } from "../../src/authn/keyring.ts";
import { authOptions } from "../../src/authn/options.ts";
import { Refusal } from "../../src/control/refusal.ts";
import { listKeys } from "../../src/daemon/handlers/keys.ts";
import { whyOf, type WhyOptions } from "../../src/daemon/handlers/why.ts";
import { createLimits, createLimitsState } from "../../src/limits/limits.ts";
import { limitsOptions } from "../../src/limits/options.ts";
import { buildCatalog } from "../support/catalog.ts";
import { keyRequest, memoryKeyStore } from "../support/key-store.ts";
import { policyOf } from "../support/policy.ts";
import { stillClock } from "../support/principal.ts";
import { serverStatus } from "../support/server-status.ts";

const policy = policyOf([{ id: "no-drop", tool: "drop", action: "deny" }], {
  reader: [
    { id: "reads", tool: "get*", action: "allow" },
    { id: "mine", tool: "put", when: { "args.of": { eq: "${principal.consumerId}" } }, action: "allow" },
    { id: "inside", tool: "near", when: { "source.loopback": { eq: true } }, action: "allow" },
    { id: "docs", resource: "file:///srv/*", action: "allow" },
    { id: "notes", resource: "file:///notes/*", when: { "args.uri": { eq: "file:///notes/a" } }, action: "allow" },
    { id: "greets", prompt: "*", action: "allow" },
    { id: "watches", server: "mcpgw", tool: "metrics", action: "allow" },
  ],
});
const catalog = buildCatalog(
  {
    crm: {
      tools: ["get", "get.all", "put", "drop", "near", "Read", "read"],
      prompts: ["get"],
    },
    files: { templates: ["file:///{+path}"], resources: ["file:///srv/a", "db://x"] },
    other: { resources: ["db://x"], templates: ["any://{x}"] },
    third: { templates: ["any://{x}/"], tools: ["get"] },
    long: { tools: ["get"], missing: [{ list: "tools", name: null, reason: "more than 100 pages" }] },
    odd: { missing: [{ list: "tools", name: "tools/list", reason: "its inputSchema is no object" }] },
  },
  {
    policy,
    toolsets: [
      { id: "desk", include: ["crm:get*", "files:file:///srv/*"], rename: { "crm:get": "find" } },
      { id: "pair", include: ["crm:get", "crm:drop"], rename: { "crm:drop": "CRM__get" } },
      { id: "twins", include: ["crm:get", "crm:put"], rename: { "crm:put": "CRM__get" } },
      { id: "one", include: ["crm:near"], rename: { "crm:near": "same" } },
      { id: "two", include: ["third:get"], rename: { "third:get": "same" } },
    ],
  },
);
const upstreams = {
  status: () => [
    serverStatus("crm"),
    serverStatus("files", { state: "idle" }),
    serverStatus("long"),
    serverStatus("odd"),
    serverStatus("third", { state: "backoff", reason: "exited with 1", listedAt: 1_700_000_000_000 }),
    serverStatus("down", { state: "backoff", reason: "no such command" }),
    serverStatus("off", { state: "disabled" }),
    serverStatus("new", { state: "starting" }),
    serverStatus("other", { state: "starting" }),
    serverStatus("worn", { state: "open-circuit", reason: "exited with 1" }),
  ],
};

function setting(
  auth: Record<string, unknown> = {},
  toolsets: readonly string[] = ["desk", "pair", "twins"],
  limits: Record<string, unknown> = {},
) {
  const clock = stillClock();
  const keyring = new Keyring({ store: memoryKeyStore(), clock });
  const make = (consumerId: string, roles: string[], more: Partial<Parameters<typeof keyRequest>[0]> = {}) =>
    keyring.create(keyRequest({ name: consumerId, consumerId, roles, ...more })).id;
  const gw = {
    catalog,
    policy,
    upstreams,
    limits: createLimits(limitsOptions.parse(limits), clock, createLimitsState(clock)),
  };
  const options: WhyOptions = { gw, keyring, toolsets, auth: authOptions.parse(auth) };
  const ask = (
    who: string,
    target: string,
    more: { kind?: "tool" | "prompt" | "resource"; args?: Record<string, unknown> } = {},
  ) => {
    const { callers, ...rest } = whyOf(options, { who, target, kind: more.kind, arguments: more.args ?? {} });
    return {
      ...rest,
      callers,
      verdict: callers.map(({ listed, allowed, rule }) => `${listed} ${allowed} ${rule}`).join("; "),
    };
  };
  return { clock, keyring, make, ask };
}

test("why: names the deciding rule, with and without arguments, by any name of the target", () => {
  const { make, ask } = setting();
  const id = make("agent", ["reader"]);
  for (const who of [id, `key:${id}`, "agent"]) expect(ask(who, "crm:get").verdict).toBe("true true reads");
  expect(ask("agent", "crm__get")).toMatchObject({
    kind: "tool",
    name: "crm:get",
    wire: "crm__get",
    missing: null,
    down: null,
  });
  expect(ask("agent", "crm:get.all").wire).toMatch(/^crm__get_all_[0-9a-f]{8}$/);
  expect(ask("agent", "crm:put").verdict).toBe("true false null");
  expect(ask("agent", "crm:put", { args: { of: "agent" } }).verdict).toBe("true true mine");
  expect(ask("agent", "crm:drop").verdict).toBe("false false no-drop");
  expect(ask("agent", "crm:get", { kind: "prompt" })).toMatchObject({ kind: "prompt", verdict: "true true greets" });
});

test("why: shows the remedy that a refused caller is told, and nothing more", () => {
  const { keyring, make, ask } = setting();
  const id = make("agent", ["reader"]);
  const told = 'Calls are allowed if args.of eq "agent".';
  const first = (target: string, args = {}) => ask("agent", target, { args }).callers[0];
  expect(first("crm:put")).toMatchObject({ reason: "no rule allows it", remedy: told, elsewhere: false });
  expect(first("crm:put", { of: "other" })).toMatchObject({ allowed: false, remedy: told });
  expect(first("crm:put", { of: "agent" })).toMatchObject({ allowed: true, remedy: null });
  expect(first("crm:drop")).toMatchObject({ remedy: null, elsewhere: false });
  expect(first("crm:near")).toMatchObject({ remedy: null, elsewhere: true });
  expect(first("crm:gone")).toMatchObject({ remedy: null, elsewhere: false });
  keyring.revoke(id);
  expect(first("crm:put")).toMatchObject({ remedy: null });
  expect(first("crm:near")).toMatchObject({ elsewhere: false });
});

test("why: finds resources by URI, listed or from a template", () => {
  const { make, ask } = setting();
  make("agent", ["reader"]);
  expect(ask("agent", "file:///srv/a")).toMatchObject({
    kind: "resource",
    name: "files:file:///srv/a",
    verdict: "true true docs",
  });
  expect(ask("agent", "file:///srv/b").verdict).toBe("true true docs");
  expect(ask("agent", "files:file:///srv/b").verdict).toBe("true true docs");
  expect(ask("agent", "file:///notes/a").verdict).toBe("true true notes");
  expect(ask("agent", "file:///notes/b", { args: { uri: "file:///notes/a" } }).verdict).toBe("true false null");
  expect(ask("agent", "file:///etc/b").verdict).toBe("false false null");
  expect(ask("agent", "mcpgw+files:db://x")).toMatchObject({ name: "files:db://x", verdict: "false false null" });
  expect(ask("agent", "db://x").missing).toBe("several servers offer it: files:db://x, other:db://x");
  expect(ask("agent", "nope://x").missing).toBe(
    "no server lists this URI, has a template for it, or gave it to a caller",
  );
});

test("why: shows the target's name in each toolset, and accepts those names", () => {
  const { make, ask } = setting();
  make("agent", ["reader"]);
  const alike = (id: string, other: string) =>
    `toolset ${id}: its name cannot be distinguished from that of ${other}; rename one`;
  const get = [
    { id: "desk", wire: "find", missing: null },
    { id: "pair", wire: null, missing: alike("pair", "crm:drop") },
    { id: "twins", wire: null, missing: alike("twins", "crm:put") },
  ];
  for (const target of ["crm:get", "find", "desk:find"]) {
    expect(ask("agent", target)).toMatchObject({ name: "crm:get", wire: "crm__get", toolsets: get });
  }
  expect(ask("agent", "crm:drop").toolsets).toEqual([
    { id: "desk", wire: null, missing: "it is not included" },
    { id: "pair", wire: null, missing: alike("pair", "crm:get") },
    { id: "twins", wire: null, missing: "it is not included" },
  ]);
  expect(ask("agent", "file:///srv/b").toolsets[0]).toEqual({ id: "desk", wire: "file:///srv/b", missing: null });
  expect(ask("agent", "nowhere:get").toolsets).toEqual([]);
  expect(ask("agent", "find", { kind: "prompt" })).toMatchObject({ kind: "prompt", wire: "crm__get" });
  expect(ask("agent", "twins:find").missing).toContain("there is no server twins");
});

test("why: a name that toolsets give to several targets is ambiguous", () => {
  const { make, ask } = setting({}, ["one", "two"]);
  make("agent", ["reader"]);
  expect(ask("agent", "same").missing).toBe("several servers offer it: crm:near, third:get");
  expect(ask("agent", "two:same")).toMatchObject({ name: "third:get", missing: null });
});

test("why: says what is missing and why", () => {
  const { make, ask } = setting();
  make("agent", ["reader"]);
  const missing = (target: string) => ask("agent", target).missing;
  expect(missing("crm:read")).toBe(
    "its name cannot be distinguished from that of crm:Read; rename one of them on its server",
  );
  expect(missing("crm:gone")).toBe("server crm offers no such thing");
  expect(missing("long:gone")).toBe("the lists of server long are incomplete: more than 100 pages");
  expect(missing("odd:gone")).toBe("server odd offers no such thing");
  expect(missing("odd:tools/list")).toBe("its inputSchema is no object");
  expect(ask("agent", "long:gone", { kind: "prompt" }).missing).toBe("server long offers no such prompt");
  expect(missing("down:get")).toBe("server down is down: no such command; it was never listed");
  expect(missing("off:get")).toBe("server off is disabled");
  expect(missing("new:get")).toBe("server new is starting; it was never listed");
  expect(missing("worn:get")).toBe(
    "server worn is down, with its circuit breaker open: exited with 1; it was never listed",
  );
  expect(missing("nowhere:get")).toBe("there is no server nowhere; `mcpgw servers list` shows all");
  expect(missing("mcpgw:get")).toBe("the gateway itself offers no such thing");
  expect(missing("get")).toMatch(/^no server offers such a thing; did you mean (.* or )?crm:get\b.*\?$/);
  expect(missing("nothing")).toBe("no server offers such a thing");
  expect(ask("agent", "crm:gone").verdict).toBe("false false null");
  expect(ask("agent", "third:get")).toMatchObject({
    missing: null,
    down: "server third is down: exited with 1; it was last listed at 2023-11-14T22:13:20.000Z",
    verdict: "true true reads",
  });
});

test("why: reports a key that is refused before any policy decides", () => {
  const { clock, keyring, make, ask } = setting();
  const first = make("agent", ["reader"]);
  make("agent", ["nobody"]);
  make("late", ["reader"], { expiresAt: clock.now() / 1000 + 1000 });
  clock.advance(2000);
  expect(ask("late", "crm:get").callers[0]?.refused).toStartWith("the key is expired as of 2023-11-14T");
  expect(ask("agent", "crm:get").verdict).toBe("true true reads; false false null");
  keyring.revoke(first);
  expect(ask(first, "crm:get").callers[0]).toMatchObject({
    refused: "the key is revoked",
    listed: true,
    allowed: false,
  });
  const weak = { id: "weak", key: "changeme", consumerId: "weak", roles: ["reader"] };
  keyring.apply(keyring.prepare(authOptions.parse({ keys: [weak] }).keys));
  expect(ask("weak", "crm:get").callers[0]?.refused).toMatch(/^the key is a placeholder, so it is never accepted/);
  // The key list has no separate state for it.
  expect(listKeys(keyring).keys.find(({ id }) => id === "weak")?.state).toBe("disabled");
  keyring.freeze();
  expect(ask("agent", "crm:get").callers.map(({ refused }) => refused)).toEqual(
    Array.from({ length: 2 }, () => "all callers are frozen; `mcpgw keys unfreeze` ends the freeze"),
  );
});

test("why: mentions a key's allowed networks only if the rules allow the call", () => {
  const { make, ask } = setting();
  make("agent", ["reader"], { cidrs: ["10.0.0.0/8", "::1"] });
  const told = "; its key is accepted only from 10.0.0.0/8, ::1";
  expect(ask("agent", "crm:get").callers[0]).toMatchObject({ allowed: true, reason: expect.stringContaining(told) });
  expect(ask("agent", "crm:drop").callers[0]?.reason).not.toContain("accepted only");
  make("free", ["reader"]);
  expect(ask("free", "crm:get").callers[0]?.reason).not.toContain("accepted only");
});

test("why: a call waits for a server that is starting", () => {
  const { make, ask } = setting();
  make("agent", ["reader"]);
  expect(ask("agent", "other:any://x")).toMatchObject({ name: "other:any://x", missing: null, down: null });
});

test("why: a right on the gateway is not a tool, but is reported as granted or not", () => {
  const { keyring, make, ask } = setting();
  const id = make("agent", ["reader"]);
  expect(ask("agent", "mcpgw:metrics")).toMatchObject({
    kind: null,
    wire: null,
    missing: "it is a right, not a tool: a caller that has it may read /metrics",
    callers: [{ allowed: true, rule: "watches", reason: "allowed" }],
    verdict: "false true watches",
  });
  expect(ask("agent", "mcpgw:audit_all")).toMatchObject({
    missing: "it is a right, not a tool: a caller that has it may see the records and the usage of all consumers",
    callers: [{ allowed: false, reason: "no rule allows it" }],
  });
  expect(ask("agent", "mcpgw:metrics", { kind: "prompt" }).missing).toBe("the gateway itself offers no such prompt");
  keyring.revoke(id);
  expect(ask(id, "mcpgw:metrics").verdict).toBe("false false watches");
});

test("why: a rate of 0 allows no calls, whatever the rules say", () => {
  const { make, ask } = setting({ stdio: { consumerId: "local", roles: ["reader"] } }, [], { perMinute: 0 });
  make("stopped", ["reader"]);
  make("own", ["reader"], { perMinute: 60 });
  const stopped = (limit: string) => [{ refused: `limit ${limit} allows no calls`, allowed: false }];
  for (const who of ["stopped", "local"]) expect(ask(who, "crm:get").callers).toMatchObject(stopped("perMinute"));
  expect(ask("own", "crm:get").callers).toMatchObject([{ refused: null, allowed: true }]);
  const { make: another, ask: of } = setting();
  another("agent", ["reader"], { perMinute: 0 });
  expect(of("agent", "crm:get").callers).toMatchObject(stopped("rateLimit"));
  expect(of("agent", "mcpgw:metrics").callers).toMatchObject([{ refused: null, allowed: true }]);
  const tool = setting({}, [], { perTool: [{ tool: "get", server: "crm", perMinute: 0 }] });
  tool.make("agent", ["reader"]);
  expect(tool.ask("agent", "crm:get").callers).toMatchObject(stopped("perTool crm:get"));
  expect(tool.ask("agent", "crm:get", { kind: "prompt" }).callers).toMatchObject([{ refused: null, allowed: true }]);
});

test("why: accepts callers without a key, and refuses unknown names", () => {
  const stdio = setting({ stdio: { consumerId: "local", roles: ["reader"] } });
  expect(stdio.ask("local", "crm:get")).toMatchObject({ verdict: "true true reads" });
  expect(stdio.ask("local:0", "crm:get").callers).toMatchObject([{ id: "local:0", roles: ["admin"], allowed: false }]);
  expect(setting({ type: "none", roles: ["reader"] }).ask("anonymous", "crm:get").verdict).toBe("true true reads");
  for (const name of ["ghost", "anonymous", "*", ""]) expect(() => stdio.ask(name, "crm:get")).toThrow(Refusal);
});
