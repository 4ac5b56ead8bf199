import { expect, test } from "bun:test";
import { setImmediate } from "node:timers/promises";
import { Cancel } from "../../src/core/cancel.ts";
import type { Archive } from "../../src/daemon/archive.ts";
import type { Engine } from "../../src/daemon/engine.ts";
import { viewerHandlers } from "../../src/daemon/handlers/viewer.ts";
import type { Viewer } from "../../src/serve/gateway-tools.ts";
import { nothing } from "../../src/usage/counters.ts";
import { loopback, makeTool } from "../support/call.ts";
import { reasonOf } from "../support/failure.ts";
import { alice, harness, item, type Options } from "../gateway/support.ts";

// What a caller can see and do with the gateway's own tools, depending on its source.

const remote = { ...loopback, ip: "192.0.2.7", loopback: false };

/** Returns the gateway's own tools for a caller whose rights are limited to this machine. */
function setting(source: Viewer["source"], archive: Partial<Archive> = {}, options: Options = {}) {
  const local = { reader: [{ when: { "source.loopback": { eq: true } }, action: "allow" }] };
  const h = harness({ rules: local, ...options });
  const status = { id: "crm", pids: [], down: [] };
  Object.assign(h.gw.upstreams, { status: () => [status] });
  const config = { usage: { enabled: true }, servers: [] };
  const engine = { current: () => h.gw, loaded: () => ({ config }) } as unknown as Engine; // the parts that these operations use
  const handlers = viewerHandlers(() => engine, archive as Archive);
  const viewer: Viewer = { who: alice, consumer: "alice", source, call: null, controller: new Cancel() };
  return { h, handlers, viewer };
}

test("S24: a caller sees servers and tools only from a source where it has rights on them", async () => {
  for (const [source, count] of [
    [loopback, 1],
    [remote, 0],
  ] as const) {
    const { handlers, viewer } = setting(source);
    expect((await handlers["servers.list"]({}, viewer)).servers).toHaveLength(count);
    expect((await handlers["tools.list"]({}, viewer)).tools).toHaveLength(count);
    const show = async () => handlers["servers.show"]({ id: "crm" }, viewer);
    if (count === 0) expect(String(await reasonOf(show()))).toContain("no server crm");
    else expect((await show()).tools).toHaveLength(count);
  }
});

test("S24: the tool count of a server includes only tools that the caller may use", async () => {
  const { h, handlers, viewer } = setting(loopback);
  Object.assign(h.gw.upstreams, { status: () => [{ id: "crm", pids: [], down: [], tools: 3 }] });
  const counts = async (seer: Viewer) => [
    (await handlers["servers.list"]({}, seer)).servers[0]?.tools,
    (await handlers["servers.show"]({ id: "crm" }, seer)).server.tools,
  ];
  expect(await counts(viewer)).toEqual([1, 1]);
  expect(await counts({ ...viewer, consumer: null })).toEqual([3, 3]);
});

test("S24: prompts and resources of a server are counted only if the caller may use them, and are not named", async () => {
  const prompts = [item("greet"), item("secret")];
  const servers = { crm: { tools: [makeTool("get")], prompts } };
  const { handlers, viewer } = setting(
    loopback,
    {},
    { servers, rules: { reader: [{ prompt: "greet", action: "allow" }] } },
  );
  const { others, leftOut } = await handlers["servers.show"]({ id: "crm" }, viewer);
  expect(others).toEqual({ prompts: 1, resources: 0, templates: 0, hidden: [] });
  expect(leftOut).toEqual({ first: [], more: 0 });
});

test("S24: a caller sees only its own and shared instances that are down", async () => {
  const { h, handlers, viewer } = setting(loopback);
  const down = [alice.id, "key:bob", null].map((owner) => ({ owner, reason: "crashed", until: 0, open: false }));
  Object.assign(h.gw.upstreams, { status: () => [{ id: "crm", pids: [7], ownPid: 7, down }] });
  const owners = async (seer: Viewer) => {
    const [listed] = (await handlers["servers.list"]({}, seer)).servers;
    const { server } = await handlers["servers.show"]({ id: "crm" }, seer);
    expect([listed, server]).toMatchObject([{ pids: [], ownPid: null }, listed ?? {}]);
    return listed?.down.map(({ owner }) => owner);
  };
  expect(await owners(viewer)).toEqual([alice.id, null]);
  expect(await owners({ ...viewer, consumer: null })).toEqual([alice.id, "key:bob", null]);
});

test("S33: a caller may query only its own usage; one that may see all can query any consumer", async () => {
  const asked: unknown[] = [];
  const usage: Archive["usage"] = async ({ consumer }) => (asked.push(consumer), { cutShort: [], rows: [] });
  const { handlers, viewer } = setting(loopback, { usage });
  const ask = async (of: Viewer, consumer?: string) => handlers.usage({ by: "tool", consumer }, of);
  for (const consumer of [undefined, "alice"]) await ask(viewer, consumer);
  for (const consumer of [undefined, "bob"]) await ask({ ...viewer, consumer: null }, consumer);
  expect(asked).toEqual(["alice", "alice", undefined, "bob"]);
  expect(String(await reasonOf(ask(viewer, "bob")))).toContain("only see the records of consumer alice");
});

test("R26: usage sums run one at a time and callers take turns, so that no caller blocks the housekeeper", async () => {
  const order: string[] = [];
  const usage: Archive["usage"] = async ({ consumer }) => {
    order.push(`begins ${consumer}`);
    await setImmediate();
    order.push(`ends ${consumer}`);
    return { cutShort: [], rows: [] };
  };
  const { handlers, viewer } = setting(loopback, { usage });
  const bob = { ...viewer, who: { ...alice, id: "key:bob" }, consumer: "bob" };
  await Promise.all([viewer, viewer, viewer, bob].map(async (of) => handlers.usage({ by: "tool" }, of)));
  expect(order).toEqual(["alice", "alice", "bob", "alice"].flatMap((name) => [`begins ${name}`, `ends ${name}`]));
});

test("a nested call has the source of its caller", async () => {
  for (const [source, status] of [
    [loopback, "ok"],
    [remote, "denied"],
  ] as const) {
    const { h, handlers, viewer } = setting(source);
    const call = await handlers["tools.call"]({ tool: "crm:get", arguments: {} }, viewer);
    expect([call.status, call.source, h.sent.length]).toEqual([status, source, status === "ok" ? 1 : 0]);
  }
});

const refusals = [{ srv: "crm", tool: "get", rule: "secret-plan", reason: "not for alice" }, { tool: "none" }].map(
  (of, seq) => {
    const at = { v: 1, seq, t: "2026-01-01T00:00:00.000000Z" };
    const record = { ...at, type: "call.refused", consumer: "alice", st: "denied", code: "unknown-tool", ...of };
    return { seq, rec: JSON.stringify(record), leaf: new Uint8Array(32) };
  },
);

test("S33: a caller's records do not distinguish a hidden tool from a missing one", async () => {
  const rows = Array.from({ length: 20 }, () => refusals.map((row) => ({ chain: "main", row }))).flat();
  const find: Archive["find"] = async ({ limit }) => ({ rows: rows.slice(0, limit), unread: [] });
  const { handlers, viewer } = setting(loopback, { find });
  const found = async (of: Viewer, asked = {}) => {
    const { records, more } = await handlers["audit.log"]({ limit: 2, ...asked }, of);
    return [more, ...records.map(({ server, tool, rule, reason }) => [server, tool, rule, reason])];
  };
  const nothing = [null, null, null, null];
  expect(await found(viewer)).toEqual([true, nothing, nothing]);
  for (const asked of [{ server: "crm" }, { tool: "get" }, { tool: "none" }])
    expect(await found(viewer, asked)).toEqual([false]);
  expect((await found({ ...viewer, consumer: null }))[1]).toEqual(["crm", "get", "secret-plan", "not for alice"]);
});

test("R8: a caller's records are shown as recorded, including why a call was refused", async () => {
  const facts = { srv: "crm", tool: "get", rule: "reader#1", reason: "too late", st: "denied", code: "denied" };
  const record = { v: 1, seq: 1, t: "2026-01-01T00:00:00.000000Z", type: "call.refused", consumer: "alice", ...facts };
  const row = { seq: 1, rec: JSON.stringify(record), leaf: new Uint8Array(32) };
  const { handlers, viewer } = setting(loopback, {
    find: async () => ({ rows: [{ chain: "main", row }], unread: [] }),
  });
  const { records } = await handlers["audit.log"]({ limit: 2, server: "crm" }, viewer);
  expect(records).toMatchObject([{ server: "crm", tool: "get", rule: "reader#1", reason: "too late" }]);
});

test("the number of hidden records scanned for one answer is limited", async () => {
  let most = 0;
  const [row] = refusals;
  const find: Archive["find"] = async ({ limit = 0 }) => {
    most = Math.max(most, limit);
    return { rows: row ? Array.from({ length: limit }, () => ({ chain: "main", row })) : [], unread: [] };
  };
  const { handlers, viewer } = setting(loopback, { find });
  expect(await handlers["audit.log"]({ limit: 2, server: "crm" }, viewer)).toEqual({ records: [], more: false });
  expect(most).toBe(5_000);
});

test("S33: a caller's usage does not distinguish a hidden tool from a missing one", async () => {
  const counts = { ...nothing, calls: 1, denied: 1, bytesIn: 2, hour: 1, consumer: "alice" };
  const { handlers, viewer } = setting(remote, {
    chains: () => ["main"],
    page: async (_chain, from) => (from === 1 ? refusals : []),
    usage: async () => ({
      cutShort: [],
      rows: [
        { ...counts, server: "crm", tool: "get" },
        { ...counts, server: "", tool: "(unknown)" },
        { ...counts, server: "crm", tool: "put", denied: 0 },
      ],
    }),
  });
  const named = async (of: Viewer) => {
    const { rows } = await handlers.usage({ by: "tool" }, of);
    const { tools, servers } = await handlers["audit.stats"]({}, of);
    return [rows, tools, servers].map((some) => some.map(({ name, calls }) => `${name} ${calls}`));
  };
  expect(await named(viewer)).toEqual([["(unknown) 2", "crm:put 1"], ["(unknown) 2"], ["(none) 2"]]);
  // Here the tool is not hidden; it was refused for another reason.
  expect((await named({ ...viewer, source: loopback }))[0]).toEqual(["(unknown) 1", "crm:get 1", "crm:put 1"]);
  expect(await named({ ...viewer, consumer: null })).toEqual([
    ["(unknown) 1", "crm:get 1", "crm:put 1"],
    ["(unknown) 1", "crm:get 1"],
    ["(none) 1", "crm 1"],
  ]);
});

test("R25 stats name unreadable chains if another can be read, and fail if none can", async () => {
  const page: Archive["page"] = async (chain) => {
    if (chain === "main") throw new Error("damaged");
    return [];
  };
  const stats = async (...chains: string[]) => {
    const { handlers, viewer } = setting(loopback, { chains: () => chains, page });
    return handlers["audit.stats"]({}, { ...viewer, consumer: null });
  };
  expect(await stats("main", "serve-1")).toMatchObject({ unread: ["main"] });
  expect(String(await reasonOf(stats("main")))).toContain("damaged");
});
