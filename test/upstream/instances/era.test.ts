import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { stdioOptions } from "../../../src/upstream/options.ts";
import { rejectionOf } from "../../support/failure.ts";
import { discovers, greets, isCall, refusal, reply, serve, serveSessions, text } from "../../support/mcp-server.ts";
import { principal } from "../../support/principal.ts";
import { TempDir } from "../../support/temp-dir.ts";
import {
  fake,
  fakeArgs,
  http,
  jsonOf,
  listed,
  memoryLists,
  serveFake,
  textOf,
  upstreams,
} from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

setDefaultTimeout(30_000);

type Set = ReturnType<typeof upstreams>;
const probes = (set: Set): number => set.events.filter(({ type }) => type === "server.probed").length;
const modernKey = "io.modelcontextprotocol/protocolVersion";

for (const mode of ["exit-on-probe", "silent-probe", "mute", "none"]) {
  test(`auto: a program that does not know the probe (${mode}) is legacy, and is not asked again that day`, async () => {
    const lists = memoryLists();
    const options = fake("a", ["--mode", mode], { protocol: "auto" });
    {
      await using set = await listed([options], { lists, tuning: { probe: 500 } });
      expect(set.status()[0]).toMatchObject({ state: "ready", era: "legacy", revision: "2025-11-25" });
      expect(probes(set)).toBe(mode === "silent-probe" || mode === "mute" ? 2 : 1);
      expect(lists.eras.get("a")).toMatchObject({ speaks: "legacy" });
    }
    await using again = await listed([options], { lists });
    expect(again.status()[0]?.state).toBe("ready");
    expect(probes(again)).toBe(0);
  });
}

test.each(["none", "one-era"])(
  "auto: a program that names only its modern revision may speak both eras (%s)",
  async (mode) => {
    const lists = memoryLists();
    await using set = await listed([fake("a", ["--era", "both-unsaid", "--mode", mode], { protocol: "auto" })], {
      lists,
    });
    expect(lists.eras.get("a")).toMatchObject({ speaks: "both" });
    expect(jsonOf(await set.ask("a", "seen", {}, { era: "legacy" })).meta).toBeUndefined();
  },
);

test.each([
  ["legacy", "legacy", "none"],
  ["legacy", "legacy", "silent-probe"],
  ["legacy", "legacy", "exit-on-probe"],
  ["modern", "modern", "none"],
  ["both", "both", "none"],
  ["both", "both-unsaid", "one-era"],
])(
  "auto: a slowly starting program that speaks %s (%s, %s) is recognized as such",
  async (speaks, era, mode) => {
    const options = fake("a", ["--era", era, "--mode", mode], { protocol: "auto" });
    const attempt = async () => {
      const lists = memoryLists();
      // No process starts within this time.
      await using set = await listed([options], { lists, tuning: { probe: 1 } });
      expect(set.status()[0]).toMatchObject({ state: "ready", era: speaks === "legacy" ? "legacy" : "modern" });
      return lists.eras.get("a")?.speaks === speaks;
    };
    // A second process has three times as long as the first one took, which may be too short on a busy machine.
    await until(attempt, "the verdict");
  },
  30_000,
);

test("auto: a program that never answers anything leaves no result about its era", async () => {
  const lists = memoryLists();
  const tuning = { start: 300, probe: 100 };
  await using set = await listed([fake("a", ["--mode", "hang"], { protocol: "auto" })], { lists, tuning });
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason: expect.stringContaining("did not answer") });
  expect([lists.eras.size, set.events.filter(({ type }) => type === "server.started").length]).toEqual([0, 0]);
});

test.each([
  ["after a day", -25],
  ["if the clock was ahead when it was stored", 1],
])("auto: a stored era is asked for again %s", async (_when, hours) => {
  const lists = memoryLists();
  lists.eras.set("a", { speaks: "legacy", at: Date.now() + hours * 3_600_000 });
  await using set = await listed([fake("a", ["--era", "both"], { protocol: "auto" })], { lists });
  expect(set.status()[0]).toMatchObject({ era: "modern", revision: "2026-07-28" });
  expect(lists.eras.get("a")).toMatchObject({ speaks: "both" });
});

for (const mode of ["none", "exit-on-probe", "silent-probe"]) {
  test(`auto: an outdated modern result (${mode}) is forgotten, and the server is back after the next attempt`, async () => {
    const lists = memoryLists();
    lists.eras.set("a", { speaks: "modern", at: Date.now() });
    const tuning = { start: 1_500, probe: 200 };
    await using set = upstreams([fake("a", ["--mode", mode], { protocol: "auto" })], { lists, tuning });
    await until(() => set.status()[0]?.state === "ready", "the second attempt");
    expect(set.status()[0]).toMatchObject({ era: "legacy", restarts: 1 });
  });
}

test("auto: a program that always exits is down, and nothing is stored about its era", async () => {
  using at = new TempDir();
  const mark = at.path("up");
  const lists = memoryLists();
  const program = [mark, process.execPath, ...fakeArgs("--era", "both")];
  const options = stdioOptions.parse({ id: "a", command: "sh", args: ["-c", 'test -e "$0" && exec "$@"', ...program] });
  await using set = await listed([options], { lists });
  expect(set.status()[0]).toMatchObject({ state: "backoff", era: null });
  expect(lists.eras.size).toBe(0);
  writeFileSync(mark, "");
  await until(() => set.status()[0]?.state === "ready", "the server to be up");
  expect(set.status()[0]).toMatchObject({ era: "modern" });
  expect(lists.eras.get("a")).toMatchObject({ speaks: "both" });
});

for (const transport of ["stdio", "http", "websocket"]) {
  test(`a server of both eras is called in its caller's era (${transport})`, async () => {
    const flags = transport === "stdio" ? [] : [`--${transport}`];
    await using remote = transport === "stdio" ? null : await serveFake(["--era", "both", ...flags]);
    await using set = await listed([remote?.options ?? fake("fake", ["--era", "both"], { protocol: "auto" })]);
    expect(set.status()[0]).toMatchObject({ era: "modern", revision: "2026-07-28" });
    const declares = { roots: {}, "com.example/x": 1 };
    const old = jsonOf(await set.ask("fake", "seen", {}, { era: "legacy", declares }));
    expect(old).toMatchObject({ declared: declares });
    expect(old.meta).toBeUndefined();
    const now = jsonOf(await set.ask("fake", "seen", {}, { era: "modern", declares }));
    expect(now.meta).toMatchObject({
      [modernKey]: "2026-07-28",
      "io.modelcontextprotocol/clientCapabilities": declares,
    });
    // Also if the client declares nothing, so that only the era distinguishes its instances.
    expect(jsonOf(await set.ask("fake", "seen", {}, { era: "legacy" })).meta).toBeUndefined();
    expect(jsonOf(await set.ask("fake", "seen", {}, { era: "modern" })).meta).toMatchObject({
      [modernKey]: "2026-07-28",
    });
  });
}

test("auto: an outdated result of both eras is forgotten, and the call is made in the remaining era", async () => {
  const lists = memoryLists();
  lists.eras.set("a", { speaks: "both", at: Date.now() });
  await using set = await listed([fake("a", ["--era", "modern"], { protocol: "auto" })], { lists });
  expect(jsonOf(await set.ask("a", "seen")).meta).toMatchObject({ [modernKey]: "2026-07-28" });
  expect(lists.eras.size).toBe(0);
  expect(jsonOf(await set.ask("a", "seen")).meta).toMatchObject({ [modernKey]: "2026-07-28" });
  expect(set.status()[0]).toMatchObject({ state: "ready", reason: null, restarts: 0 });
});

test("auto: a program of both eras that is replaced by a modern one keeps serving legacy callers and their subscriptions", async () => {
  using at = new TempDir();
  const mark = at.path("replaced");
  const script = 'if test -e "$0"; then exec "$@" --era modern; else exec "$@" --era both; fi';
  const args = ["-c", script, mark, process.execPath, ...fakeArgs("--rich")];
  await using set = await listed([stdioOptions.parse({ id: "a", command: "sh", args })]);
  expect(jsonOf(await set.ask("a", "seen")).meta).toBeUndefined();
  const told: (string | null)[] = [];
  await set.follow("a", "test://a", (params) => void told.push(params));
  writeFileSync(mark, "");
  expect((await rejectionOf(set.ask("a", "crash"))).code).toBe("lost");
  await until(() => told.length > 0, "the subscription to go on");
  expect(told).toEqual([null]);
  expect(jsonOf(await set.ask("a", "seen")).meta).toMatchObject({ [modernKey]: "2026-07-28" });
});

/** A server of both eras, until a modern one replaces it that answers legacy requests as `refuse` says. */
function replaceable(refuse: (id: unknown) => Response, headers: Record<string, string> = {}) {
  let replaced = false;
  const server = serve((message) => {
    const { id, method, params } = message;
    const modern = params?.["_meta"] !== undefined;
    if (!modern && replaced && method !== undefined) return refuse(id);
    if (method === "server/discover") return discovers(id);
    if (method === "initialize") return greets(id, {}, headers);
    return isCall(message) ? reply(id, { ...text(modern ? "modern" : "legacy"), resultType: "complete" }) : null;
  });
  return Object.assign(server, { replace: () => void (replaced = true) });
}

/** A set with this server, and a function that makes a caller's call. */
async function callersOf(url: string) {
  const set = await listed([http("a", url)]);
  const call = async (who: string) => textOf(await set.ask("a", "t", {}, { who: principal(who) }));
  return Object.assign(set, { call });
}

test.each([{ "mcp-session-id": "s" }, {}])(
  "auto: when a modern server replaces one of both eras at a URL, old and new legacy callers are served (session: %p)",
  async (headers) => {
    const named = { supported: ["2026-07-28"] };
    using server = replaceable((id) => refusal(id, -32022, "Unsupported protocol version", 400, named), headers);
    await using set = await callersOf(server.url);
    expect(await set.call("alice")).toBe("legacy");
    server.replace();
    expect(await Promise.all([set.call("alice"), set.call("bob")])).toEqual(["modern", "modern"]);
    expect(await set.call("carol")).toBe("modern");
    // Only the call in the old session was sent twice.
    expect(server.of("tools/call").length).toBe(5);
  },
);

test("whether a modern server speaks legacy is asked once for all callers, and again if the server was met again in the meantime", async () => {
  const answered = Promise.withResolvers<Response>();
  let asked: unknown = null;
  let broken = false;
  using server = serve((message) => {
    const { id, method, params } = message;
    if (broken && params?.["_meta"] !== undefined) return new Response(null, { status: 401 });
    if (method === "server/discover") return discovers(id);
    if (method !== "initialize") return isCall(message) ? reply(id, { ...text("ok"), resultType: "complete" }) : null;
    if (asked !== null) return greets(id);
    asked = id;
    return answered.promise;
  });
  await using set = await listed([http("a", server.url)]);
  const callTwice = () => Promise.all([set.ask("a", "t"), set.ask("a", "t")]);
  const calls = callTwice();
  await until(() => asked !== null, "the question");
  broken = true;
  await rejectionOf(set.ask("a", "t", {}, { era: "modern" }));
  await until(() => set.status()[0]?.state === "backoff", "its end");
  broken = false;
  await until(() => set.status()[0]?.state === "ready", "the next start");
  answered.resolve(refusal(asked, -32601, "unknown method"));
  expect((await calls).map(({ era }) => era)).toEqual(["modern", "modern"]);
  expect(server.of("initialize").length).toBe(1);
  expect((await callTwice()).map(({ era }) => era)).toEqual(["legacy", "legacy"]);
  // The question, and the handshake of the instance.
  expect(server.of("initialize").length).toBe(3);
});

test.each([-32600, -32601, -32602])(
  "auto: a modern server that refuses initialize with %i is called in the modern era",
  async (code) => {
    using server = replaceable((id) => refusal(id, code, "_meta is required", 400));
    await using set = await callersOf(server.url);
    expect(await set.call("alice")).toBe("legacy");
    server.replace();
    expect(await set.call("bob")).toBe("modern");
    // For Alice's session, the refusal could come from the tool; the next call knows better.
    expect(await set.call("alice")).toBe("modern");
  },
);

test("legacy: a server that refuses the revision is not tried in the other era", async () => {
  let replaced = false;
  using server = serve(({ id, method }) =>
    replaced && method === "initialize" ? refusal(id, -32022, "Unsupported protocol version", 400) : null,
  );
  await using set = await listed([http("a", server.url, { protocol: "legacy" })]);
  replaced = true;
  const { code, message } = await rejectionOf(set.ask("a", "t"));
  expect([code, message]).toEqual(["upstream-down", expect.stringContaining("no common protocol revision")]);
  expect([server.of("server/discover").length, server.of("tools/call").length]).toEqual([0, 0]);
});

test("auto: a session refused by a full server of both eras says nothing about its eras, and affects only its caller", async () => {
  let most = 3;
  using server = serveSessions(({ id, method, params }, session) => {
    if (method === "server/discover") return discovers(id);
    if (method === "initialize" && server.opened() === most) return refusal(id, -32000, "Too many sessions", 429);
    if (method !== "tools/call") return null;
    return reply(id, { ...text(params?.["_meta"] === undefined ? `${session}` : "modern"), resultType: "complete" });
  });
  await using set = await listed([http("a", server.url)]);
  const call = async (who: string) => set.ask("a", "t", {}, { who: principal(who) });
  // The first session is the gateway's own, which finds out the eras.
  expect([textOf(await call("alice")), textOf(await call("bob"))]).toEqual(["s2", "s3"]);
  expect(await rejectionOf(call("carol"))).toMatchObject({
    code: "upstream-overloaded",
    message: expect.stringContaining("Too many sessions"),
  });
  expect([textOf(await call("alice")), textOf(await call("bob"))]).toEqual(["s2", "s3"]);
  most = 4;
  // Her instance is started again after a pause.
  await until(async () => (await call("carol").catch(() => null)) !== null, "room for carol");
  expect(textOf(await call("carol"))).toBe("s4");
});

test("a server of one era serves callers of both eras in its own era", async () => {
  await using set = await listed([fake("new", ["--era", "modern"], { protocol: "auto" }), fake("old")]);
  const seen = async (server: string, era: "legacy" | "modern") => jsonOf(await set.ask(server, "seen", {}, { era }));
  expect((await seen("new", "legacy")).meta).toMatchObject({ [modernKey]: "2026-07-28" });
  expect((await seen("old", "modern")).meta).toBeUndefined();
});

test.each([401, 403, 408, 429, 500, 503])("auto: HTTP %i says nothing about the era", async (status) => {
  using server = serve((message) => (message.method === "server/discover" ? new Response("", { status }) : null));
  await using set = await listed([http("a", server.url)]);
  expect(set.status()[0]).toMatchObject({ state: "backoff", era: null });
  expect(server.of("initialize")).toEqual([]);
});

test.each([200, 202, 204])(
  "auto: a server that accepts server/discover without an answer (HTTP %i) is legacy",
  async (status) => {
    using server = serve(({ method }) => (method === "server/discover" ? new Response(null, { status }) : null));
    await using set = await listed([http("a", server.url)]);
    expect(set.status()[0]).toMatchObject({ state: "ready", era: "legacy" });
  },
);

test.each([200, 202])(
  "protocol: modern: a server that does not answer server/discover (HTTP %i) is not modern",
  async (status) => {
    using server = serve(() => new Response(null, { status }));
    await using set = await listed([http("a", server.url, { protocol: "modern" })]);
    expect(set.status()[0]).toMatchObject({
      state: "backoff",
      reason: expect.stringContaining(`no JSON-RPC answer (HTTP ${status})`),
    });
  },
);

test("auto: a server that answers HTTP 500 with JSON-RPC is broken, not legacy", async () => {
  using server = serve(({ method, id }) => (method === "server/discover" ? refusal(id, -32603, "oops", 500) : null));
  await using set = await listed([http("a", server.url)]);
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason: expect.stringContaining("500") });
});

const refusals: [what: string, code: number, data: unknown, era: "legacy" | "modern"][] = [
  ["-32022 that names only a legacy revision", -32022, { supported: ["2025-06-18"] }, "legacy"],
  ["-32022 that names both", -32022, { supported: ["2026-07-28", "2025-06-18"] }, "modern"],
  ["-32021", -32021, { requiredCapabilities: {} }, "modern"],
  ["-32020", -32020, {}, "modern"],
  ["-32022 without a list", -32022, undefined, "legacy"],
  ["-32000 Bad Request", -32000, undefined, "legacy"],
];
test.each(refusals)("auto: the answer %s to server/discover shows the era", async (_, code, data, era) => {
  using server = serve(({ method, id }) => (method === "server/discover" ? refusal(id, code, "no", 400, data) : null));
  await using set = await listed([http("a", server.url)]);
  expect(set.status()[0]).toMatchObject({ state: "ready", era });
});

test("auto: a server that speaks only a future revision is not available, and the reason says so", async () => {
  using server = serve(({ method, id }) =>
    method === "server/discover" ? reply(id, { supportedVersions: ["2030-01-01"] }) : null,
  );
  await using set = await listed([http("a", server.url)]);
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason: expect.stringContaining("2030-01-01") });
});

test("protocol: modern needs no server/discover, protocol: legacy never sends it", async () => {
  using server = serve(({ method, id }) => (method === "server/discover" ? refusal(id, -32601, "no", 404) : null));
  await using set = await listed([
    http("m", server.url, { protocol: "modern" }),
    http("l", server.url, { protocol: "legacy" }),
  ]);
  expect(set.status()).toMatchObject([
    { state: "ready", era: "modern" },
    { state: "ready", era: "legacy" },
  ]);
  expect(server.of("server/discover").length).toBe(1);
  expect(server.of("initialize").length).toBe(1);
});

test("auto: an endpoint that accepts no POST but opens the HTTP+SSE stream is used over HTTP+SSE", async () => {
  await using served = await serveFake(["--pair", "--rich"]);
  await using set = await listed([served.options]);
  expect(set.status()[0]).toMatchObject({ state: "ready", era: "legacy", transport: "http" });
  expect(textOf(await set.ask("fake", "slow", { ms: 1 }))).toBe('{"ms":1}');
});

test("auto: an endpoint without MCP is reported as that", async () => {
  using server = serve(() => new Response("nothing here", { status: 404 }));
  await using set = await listed([http("a", server.url)]);
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason: expect.stringContaining("nothing speaks MCP") });
});

test.each([
  ["at another origin", (elsewhere: string) => elsewhere],
  ["that takes a parser quadratic time", () => `/${"a".repeat(8192)}`],
])("nothing is sent to an HTTP+SSE endpoint %s", async (_which, endpoint) => {
  using elsewhere = serve(() => null);
  const stream = `event: endpoint\ndata: ${endpoint(elsewhere.url)}\n\n`;
  using server = serve(() => new Response(stream, { headers: { "content-type": "text/event-stream" } }));
  await using set = await listed([http("a", server.url, { transport: "sse", headers: { "X-Key": "secret" } })]);
  expect(set.status()[0]).toMatchObject({
    state: "backoff",
    reason: expect.stringContaining("does not have the configured origin"),
  });
  expect(elsewhere.seen).toEqual([]);
});
