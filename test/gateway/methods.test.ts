import { describe, expect, test } from "bun:test";
import { failures } from "../../src/core/failure.ts";
import { specOf } from "../../src/mcp/methods.ts";
import type { Era } from "../../src/core/inbound.ts";
import { methodLabel, requestMethods } from "../../src/core/methods.ts";
import { makeTool } from "../support/call.ts";
import { principal } from "../support/principal.ts";
import { alice, harness, item, type Options, received, request, send, session, types } from "./support.ts";

const skills = "io.modelcontextprotocol/skills";
const tasks = "io.modelcontextprotocol/tasks";
const servers: NonNullable<Options["servers"]> = {
  crm: {
    tools: [makeTool("get"), makeTool("drop")],
    prompts: [item("greet")],
    resources: [item("file:///a"), item("twin:b")],
    capabilities: { tools: {}, prompts: {}, resources: { subscribe: true }, completions: {}, logging: {} },
  },
  erp: { resources: [item("twin:b")] },
};

/** For every method, params that name existing things. */
const params: Record<string, object> = {
  initialize: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "c", version: "1" } },
  "logging/setLevel": { level: "info" },
  "tools/call": { name: "crm__get" },
  "prompts/get": { name: "crm__greet" },
  "resources/read": { uri: "file:///a" },
  "resources/subscribe": { uri: "file:///a" },
  "resources/unsubscribe": { uri: "file:///a" },
  "completion/complete": { ref: { type: "ref/prompt", name: "crm__greet" }, argument: { name: "n", value: "" } },
  "subscriptions/listen": { notifications: {} },
};

const legacyOnly = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];
const modernOnly = ["server/discover", "subscriptions/listen", "tasks/get", "tasks/update", "tasks/cancel"];

describe("the table of methods", () => {
  const eras: Era[] = ["legacy", "modern"];
  const rows = requestMethods.flatMap((method) => eras.map((era) => [method, era] as const));
  test.each(rows)("%s in the %s era", async (method, era) => {
    const { gw } = harness({ servers });
    const gone = (era === "modern" ? legacyOnly : modernOnly).includes(method);
    const asking = { era, session: era === "legacy" ? session(alice) : null };
    const { call } = await send(gw, method, params[method] ?? {}, asking);
    expect(call.failure?.code === "unknown-method").toBe(gone);
    expect(call.knownMethod).toBe(method);
  });

  test("a list stops waiting for tools when its caller leaves, and asks only the servers in scope", async () => {
    const asked = Promise.withResolvers<(server: string) => boolean>();
    const learnTools: Options["learnTools"] = (_, of) => (asked.resolve(of), new Promise(() => {}));
    const { gw } = harness({ servers: { ...servers, other: {} }, learnTools });
    const controller = new AbortController();
    const listing = send(gw, "tools/list", {}, { capabilities: { roots: {} }, scope: "crm", controller });
    expect(["crm", "other"].map(await asked.promise)).toEqual([true, false]);
    controller.abort();
    expect((await listing).call.inbound.method).toBe("tools/list");
  });

  test("a list asks no server on which its caller has no right to any tool", async () => {
    let mayUse: ((server: string) => boolean) | null = null;
    const learnTools: Options["learnTools"] = (_, of) => ((mayUse = of), null);
    const reader = [
      { server: "crm", tool: "get*", action: "allow", when: { "source.loopback": { eq: true } } },
      { server: "other", prompt: "*", action: "allow" },
    ];
    const { gw } = harness({ servers: { ...servers, other: {} }, rules: { reader }, learnTools });
    await send(gw, "tools/list", {}, { capabilities: { roots: {} } });
    expect(["crm", "other", "erp"].map((server) => mayUse?.(server))).toEqual([true, false, false]);
  });

  test("T42: the gateway's own answer is withheld if its caller lost its rights while waiting", async () => {
    const { gw } = harness({ servers });
    const boot = Promise.withResolvers<void>();
    Object.assign(gw, { settled: boot.promise });
    const who = principal("key:leaver");
    const listing = send(gw, "tools/list", {}, { who });
    who.revoke();
    boot.resolve();
    const { call, error } = await listing;
    expect([call.status, call.reply]).toEqual(["cancelled", null]);
    expect(error).toEqual({ code: failures["rights-lost"].rpc, message: "The key was revoked." });
  });

  test("T42: no session is opened for a caller that lost its rights while waiting for servers", async () => {
    const { gw } = harness({ servers: { crm: {} } });
    const boot = Promise.withResolvers<void>();
    Object.assign(gw, { settled: boot.promise });
    const who = principal("key:leaver");
    let opened = 0;
    const open = () => (opened++, Promise.reject(new Error("opened")));
    const asked = send(gw, "initialize", params.initialize ?? {}, { era: "legacy", who, open });
    who.revoke();
    boot.resolve();
    expect((await asked).call.failure?.code).toBe("rights-lost");
    expect(opened).toBe(0);
  });

  test("an unknown method is refused and counted as other", async () => {
    for (const method of ["tools/destroy", "skills/list", "constructor", "__proto__", "toString", ""]) {
      const { gw, records, counted } = harness({ servers });
      const { error, call } = await send(gw, method);
      expect(error).toMatchObject({ code: -32601 });
      expect(failures[call.failure?.code ?? "internal"].http).toBe(404);
      expect(types(records)).toEqual(["call.refused"]);
      expect(counted).toEqual(["other invalid"]);
    }
    expect(methodLabel("notifications/cancelled")).toBe("notifications/cancelled");
  });

  const effects: [method: string, records: string[]][] = [
    ["tools/call", ["call.begin", "call.end"]],
    ["prompts/get", ["call.begin", "call.end"]],
    ["resources/read", ["call.begin", "call.end"]],
    ["completion/complete", ["call.begin", "call.end"]],
    ["resources/subscribe", ["call.end"]],
    ["resources/unsubscribe", []],
    ["tools/list", []],
    ["prompts/list", []],
    ["resources/list", []],
    ["resources/templates/list", []],
    ["ping", []],
    ["logging/setLevel", []],
    ["initialize", []],
  ];
  test.each(effects)("%s leaves the records %p", async (method, expected) => {
    const { gw, records } = harness({ servers });
    const { call } = await send(gw, method, params[method] ?? {}, { era: "legacy", session: session(alice) });
    expect(call.failure).toBeNull();
    expect(types(records)).toEqual(expected);
  });
});

describe("what reaches a server", () => {
  const edits: [method: string, params: string, expected: Record<string, unknown>][] = [
    ["tools/call", '{"name":"crm__get","arguments":{"a":1}}', { name: "get", arguments: { a: 1 } }],
    ["prompts/get", '{"name":"crm__greet","arguments":{"a":"1"}}', { name: "greet", arguments: { a: "1" } }],
    ["resources/read", '{"uri":"mcpgw+crm:twin:b","x":1}', { uri: "twin:b", x: 1 }],
    [
      "completion/complete",
      '{"ref":{"Type":"ref/resource","type":"ref/prompt","name":"crm__greet","Name":"root"},"argument":{"name":"n","value":"v"}}',
      { ref: { type: "ref/prompt", name: "greet" }, argument: { name: "n", value: "v" } },
    ],
    [
      "completion/complete",
      '{"ref":{"type":"ref/prompt","name":"crm__greet","t":1},"argument":{"name":"n","value":"v"},"context":{"arguments":{}}}',
      {
        ref: { type: "ref/prompt", name: "greet", t: 1 },
        argument: { name: "n", value: "v" },
        context: { arguments: {} },
      },
    ],
    [
      "completion/complete",
      '{"ref":{"type":"ref/resource","uri":"mcpgw+crm:twin:b"},"argument":{"name":"n","value":"v"}}',
      { ref: { type: "ref/resource", uri: "twin:b" }, argument: { name: "n", value: "v" } },
    ],
  ];
  test.each(edits)("%s %s", async (method, text, expected) => {
    const { gw, sent } = harness({ servers });
    expect((await send(gw, method, text, { era: "legacy" })).error).toBeUndefined();
    expect(sent.map((one) => received(one, "legacy"))).toEqual([expected]);
    expect(sent[0]?.request.method).toBe(method);
  });

  test("the result of a read has the wire URI of the resource again", async () => {
    const text = '{"contents":[{"uri":"twin:b","text":"1.10"}, {"uri":"other:c"},7],"n":1.10}';
    const { gw } = harness({
      servers,
      script: () => ({ kind: "result", era: "legacy", text, isError: false, type: null }),
    });
    const { call } = await send(gw, "resources/read", { uri: "mcpgw+crm:twin:b" }, { era: "legacy" });
    expect(call.reply?.text).toBe(
      '{"contents":[{"uri":"mcpgw+crm:twin:b","text":"1.10"}, {"uri":"other:c"},7],"n":1.10}',
    );
  });
});

describe("S33: lists agree with all other methods", () => {
  const rules = {
    all: [{ action: "allow" }],
    tools: [{ tool: "get", action: "allow" }],
    prompts: [{ prompt: "*", action: "allow" }],
    files: [{ resource: "file:*", action: "allow" }],
    none: [],
  };
  const sees: Record<keyof typeof rules, string[]> = {
    all: ["tool", "prompt", "resource"],
    tools: ["tool"],
    prompts: ["prompt"],
    files: ["resource"],
    none: [],
  };
  const asks: [kind: string, list: string, method: string, params: object][] = [
    ["tool", "tools/list", "tools/call", { name: "crm__get" }],
    ["prompt", "prompts/list", "prompts/get", { name: "crm__greet" }],
    [
      "prompt",
      "prompts/list",
      "completion/complete",
      { ref: { type: "ref/prompt", name: "crm__greet" }, argument: { name: "n", value: "" } },
    ],
    ["resource", "resources/list", "resources/read", { uri: "file:///a" }],
    ["resource", "resources/list", "resources/subscribe", { uri: "file:///a" }],
    [
      "resource",
      "resources/list",
      "completion/complete",
      { ref: { type: "ref/resource", uri: "file:///a" }, argument: { name: "n", value: "" } },
    ],
  ];
  const rows = Object.keys(rules).flatMap((role) =>
    asks.flatMap(([kind, ...ask]) => (specOf(ask[1])?.eras ?? []).map((era) => [role, kind, era, ...ask] as const)),
  );
  test.each(rows)("%s, %s, %s: %s and %s", async (role, kind, era, list, method, asked) => {
    const { gw, sent, subscribed } = harness({ servers, rules });
    const who = principal("key:x", [role]);
    const asking = { who, era, session: era === "legacy" ? session(who) : null };
    const listed = JSON.stringify((await send(gw, list, {}, asking)).result);
    const allowed = sees[role as keyof typeof rules].includes(kind);
    expect(/crm__get|greet|file:/.test(listed)).toBe(allowed);
    const { call } = await send(gw, method, asked, asking);
    expect(call.failure === null).toBe(allowed);
    expect(sent.length + subscribed.size).toBe(allowed ? 1 : 0);
  });

  test("listening silently skips resources that may not be read", async () => {
    for (const [role, kinds] of Object.entries(sees)) {
      const { gw } = harness({ servers, rules });
      const said: string[] = [];
      const controller = new AbortController();
      const notifications = { resourceSubscriptions: ["file:///a", "file:///nowhere"] };
      const who = principal("key:x", [role]);
      const call = send(
        gw,
        "subscriptions/listen",
        { notifications },
        {
          who,
          controller,
          emit: (text) => {
            said.push(text);
            controller.abort();
          },
        },
      );
      await call;
      const granted = kinds.includes("resource") ? { resourceSubscriptions: ["file:///a"] } : {};
      expect(JSON.parse(said[0] ?? "{}").params.notifications).toEqual(granted);
    }
  });
});

describe("handshakes", () => {
  const ext = { [tasks]: {}, [skills]: { a: 1 }, "com.acme/x": {} };
  const many: NonNullable<Options["servers"]> = {
    a: { capabilities: { tools: {}, extensions: ext } },
    b: { capabilities: { prompts: {}, completions: {}, extensions: { [skills]: { a: 2 } } } },
    mcpgw: { tools: [makeTool("audit_log")] },
  };
  const capabilities = async (era: Era, scope: string | null, declared = {}): Promise<unknown> => {
    const { gw } = harness({ servers: many, toolsets: { both: ["a:*", "b:*"] } });
    const method = era === "modern" ? "server/discover" : "initialize";
    return (await send(gw, method, params.initialize ?? {}, { era, scope, capabilities: declared })).result
      .capabilities;
  };
  const tools = { tools: { listChanged: true } };
  const b = { ...tools, prompts: { listChanged: true }, completions: {} };

  test("show a legacy client what is offered in the scope, and extensions that it declared too", async () => {
    expect(await capabilities("legacy", "a")).toEqual(tools);
    expect(await capabilities("legacy", "b")).toEqual(b);
    expect(await capabilities("legacy", null, { extensions: { [skills]: {}, [tasks]: {}, "com.acme/y": {} } })).toEqual(
      {
        ...b,
        extensions: { [skills]: {} },
      },
    );
  });

  test.each([
    [{ subscribe: true }, { listChanged: true, subscribe: true }],
    [{ subscribe: false }, { listChanged: true }],
    [{ listChanged: true }, { listChanged: true }],
  ])("show subscriptions if a server has them: %j", async (resources, shown) => {
    const { gw } = harness({ servers: { a: { capabilities: { resources } }, b: { capabilities: { tools: {} } } } });
    expect((await send(gw, "server/discover")).result.capabilities).toEqual({ ...tools, resources: shown });
  });

  test("show all extensions to a modern client", async () => {
    expect(await capabilities("modern", "a")).toEqual({ ...tools, extensions: ext });
    expect(await capabilities("modern", "both")).toEqual({ ...b, extensions: { ...ext, [skills]: {} } });
  });

  test.each(["legacy", "modern"] as const)("settings that a %s client could not parse are empty", async (era) => {
    const extensions = { "com.acme/on": true, "com.acme/list": [], "com.acme/none": null };
    const { gw } = harness({ servers: { odd: { capabilities: { tools: {}, extensions } } } });
    const method = era === "modern" ? "server/discover" : "initialize";
    const asked = await send(gw, method, params.initialize ?? {}, { era, capabilities: { extensions } });
    const shown = { "com.acme/on": {}, "com.acme/list": {}, "com.acme/none": {} };
    expect(asked.result.capabilities).toEqual({ ...tools, extensions: shown });
  });

  test("show everything for a server that is not known yet", async () => {
    const { gw } = harness({ servers: { late: {} } });
    expect((await send(gw, "server/discover")).result.capabilities).toEqual({
      ...tools,
      prompts: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      completions: {},
      logging: {},
    });
  });

  test("show only tools for a server that declared nothing", async () => {
    const { gw } = harness({ servers: { bare: { capabilities: {} } } });
    expect((await send(gw, "server/discover")).result.capabilities).toEqual(tools);
  });

  test.each(["initialize", "server/discover"])("%s waits for servers that are not known yet", async (method) => {
    const h = harness({ servers: { a: {}, known: { capabilities: {} } } });
    const booting = Promise.withResolvers<void>();
    h.gw.settled = booting.promise;
    const ask = (scope: string | null) =>
      send(h.gw, method, params.initialize ?? {}, { era: method === "initialize" ? "legacy" : "modern", scope });
    const asked = ask(null);
    // A client whose servers are all known is answered in the meantime.
    expect((await ask("known")).result.capabilities).toEqual(tools);
    Object.assign(h.gw.upstreams.listings()[0] ?? {}, { capabilities: { prompts: {} } });
    booting.resolve();
    expect((await asked).result.capabilities).toEqual({ ...tools, prompts: { listChanged: true } });
  });

  test.each(["initialize", "server/discover"])("%s answers with the gateway current by then", async (method) => {
    const h = harness({ servers: { a: {} } });
    const booting = Promise.withResolvers<void>();
    h.gw.settled = booting.promise;
    const era = method === "initialize" ? "legacy" : "modern";
    const asked = send(h.gw, method, params.initialize ?? {}, { era });
    h.inForce.catalog = { ...h.gw.catalog, instructions: () => "in force" };
    booting.resolve();
    expect((await asked).result.instructions).toBe("in force");
  });

  test("list the newest revision first", async () => {
    const { gw } = harness();
    expect((await send(gw, "server/discover")).result.supportedVersions).toEqual([
      "2026-07-28",
      "2025-11-25",
      "2025-06-18",
      "2025-03-26",
      "2024-11-05",
    ]);
  });
});

test("the log level belongs to its session", async () => {
  const { gw } = harness();
  const own = session(alice);
  const asking = { era: "legacy", session: own } as const;
  expect((await send(gw, "logging/setLevel", { level: "warning" }, asking)).result).toEqual({});
  expect(own.logLevel).toBe("warning");
  for (const level of ["loud", 7, undefined, "constructor"]) {
    expect((await send(gw, "logging/setLevel", { level }, asking)).error).toMatchObject({ code: -32602 });
  }
  expect(own.logLevel).toBe("warning");
  const without = await send(gw, "logging/setLevel", { level: "debug" }, { era: "legacy" });
  expect(without.error).toMatchObject({ code: -32600, message: expect.stringContaining("needs a session") });
});

test("servers are notified that a legacy client's roots changed", async () => {
  const { gw, told } = harness();
  const call = request(gw, "notifications/roots/list_changed", {}, { era: "legacy" });
  Object.assign(call.inbound, { kind: "notification", idText: null });
  const { handle } = await import("../../src/gateway/handle.ts");
  await handle(gw, call);
  expect(told).toEqual(["key:alice notifications/roots/list_changed"]);
});

test("a call has the trace id of its caller's traceparent", () => {
  const { gw } = harness();
  const traced = (traceparent: unknown) => request(gw, "tools/call", { name: "x", _meta: { traceparent } }).trace;
  expect(traced("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01")).toBe("0af7651916cd43dd8448eb211c80319c");
  expect(traced("cc-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01-more")).toBe(
    "0af7651916cd43dd8448eb211c80319c",
  );
  for (const bad of [
    undefined,
    7,
    "",
    "00-0AF7651916CD43DD8448EB211C80319C-00f067aa0ba902b7-01",
    "ff-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
    "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    'x00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"',
  ]) {
    expect(traced(bad)).toBeNull();
  }
});
