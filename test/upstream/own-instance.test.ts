import { heapStats } from "bun:jsc";
import { expect, setDefaultTimeout, test } from "bun:test";
import { systemClock } from "../../src/core/clock.ts";
import { atOnce } from "../../src/core/turns.ts";
import { subscriptionIdKey } from "../../src/mcp/meta.ts";
import { drainList, readTools } from "../../src/upstream/discovery/listing.ts";
import { openHttp } from "../../src/upstream/transports/http.ts";
import { stdioOptions } from "../../src/upstream/options.ts";
import { createValidator } from "../../src/validate/validate.ts";
import { linkHost } from "../support/link-host.ts";
import { discovers, greets, listening, refusal, reply, serve, type Stream, told } from "../support/mcp-server.ts";
import { TempDir } from "../support/temp-dir.ts";
import { PerTurnCounter, use } from "../support/turns.ts";
import { until } from "../support/until.ts";
import { fake, http, listed, memoryLists, toolNames, upstreams } from "../support/upstream.ts";

setDefaultTimeout(30_000);

const rules = { limits: { depth: 20, nodes: 1_000 }, refuses: () => null, refusesOutput: () => null };
const list = (names: readonly string[]) => names.map((name) => ({ name, inputSchema: { type: "object" } }));
test.each(["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])(
  "a server that answers with revision %s is used in that revision",
  async (revision) => {
    await using set = await listed([fake("a", ["--revision", revision])]);
    expect(set.status()[0]).toMatchObject({ state: "ready", era: "legacy", revision });
  },
);

test("a server with an unknown revision is not available, and the reason says so", async () => {
  await using set = await listed([fake("a", ["--revision", "1999-01-01"])]);
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason: expect.stringContaining("1999-01-01") });
});

test("all pages are listed", async () => {
  await using set = await listed([fake("a", ["--mode", "pages"])]);
  expect(toolNames(set)).toEqual(["page-0", "page-1", "page-2", "page-3", "page-4"]);
});

test("a repeated cursor ends the list with a warning", async () => {
  await using set = await listed([fake("a", ["--mode", "same-cursor"])]);
  expect(toolNames(set)).toEqual(["t1", "t2"]);
  expect(set.warnings.join()).toContain("a cursor was repeated");
});

test("a server that ignores the cursor offers its one page, with a warning", async () => {
  await using set = await listed([fake("a", ["--mode", "one-page"])]);
  expect(toolNames(set)).toEqual(["echo", "hang"]);
  const reason = "its tools/list was cut off: a cursor was repeated";
  expect(set.listings()[0]?.missing).toEqual([{ list: "tools", name: null, reason }]);
});

test("overlapping pages offer each tool once", async () => {
  await using set = await listed([fake("a", ["--mode", "overlapping-pages"])]);
  expect(toolNames(set)).toEqual(["echo", "hang", "slow", "crash"]);
  expect(set.listings()[0]?.missing).toEqual([]);
});

test("an endless list is cut off at 100 pages", async () => {
  await using set = await listed([fake("a", ["--mode", "endless-pages"])]);
  expect(toolNames(set).length).toBe(100);
  expect(set.warnings.join()).toContain("more than 100 pages");
  const reason = "its tools/list was cut off: more than 100 pages";
  expect(set.listings()[0]?.missing).toEqual([{ list: "tools", name: null, reason }]);
  expect(set.status()).toMatchObject([{ state: "ready", reason }]);
});

const peer = { era: "legacy", revision: "2025-11-25", capabilities: null, instructions: null } as const;
const roomy = () => ({ ...linkHost.limits(), result: 4 * 2 ** 20 });

test("the part of a slow list that arrived in time is offered", async () => {
  using server = serve(({ method, id, params }) => {
    if (method !== "tools/list") return null;
    if (params?.["cursor"] !== undefined) return new Promise<Response>(() => {});
    return reply(id, { tools: list(["t"]), nextCursor: "2" });
  });
  const link = openHttp({ url: server.url, headers: {}, getStream: false }, linkHost);
  const { texts, warning } = await drainList({ link, peer }, "tools", { ms: 500 });
  expect(texts.length).toBe(1);
  expect(warning).toBe("its tools/list was cut off: more than 0.5 s");
  await link.close();
});

test("a kept definition does not keep the list in which it came in memory", async () => {
  using server = serve(({ method, id }) => {
    if (method !== "tools/list") return null;
    return reply(id, { tools: list(["t"]), _meta: { more: "x".repeat(2 ** 20) } });
  });
  const link = openHttp({ url: server.url, headers: {}, getStream: false }, { ...linkHost, limits: roomy });
  const heap = (): number => (Bun.gc(true), heapStats().heapSize);
  const read = () => drainList({ link, peer }, "tools");
  const kept = [await read()];
  const before = heap();
  for (let at = 0; at < 100; at++) kept.push(await read());
  expect(heap() - before).toBeLessThan(20 * 2 ** 20);
  expect(kept.length).toBe(101);
  await link.close();
});

test("S41: bad definitions and different definitions of one name are left out with a reason, and the rest is offered", async () => {
  await using set = await listed([fake("a", ["--mode", "bad-tools"])], { refuses: () => null });
  expect(toolNames(set)).toEqual(["good"]);
  expect(set.listings()[0]?.missing).toEqual([
    { list: "tools", name: "?", reason: "a tool without a name" },
    { list: "tools", name: "?", reason: "a tool without a name" },
    { list: "tools", name: "?", reason: "a tool without a name" },
    { list: "tools", name: "no-schema", reason: "its inputSchema is not an object" },
    { list: "tools", name: "twin", reason: "several tools have this name" },
    { list: "tools", name: "twin", reason: "several tools have this name" },
  ]);
});

test("a list that takes long to parse yields to other work and is not read again for a multiple of that time", async () => {
  using at = new TempDir();
  using turns = new PerTurnCounter();
  const refuses = (): null => {
    turns.count();
    use(2);
    return null;
  };
  await using set = upstreams([fake("a", [], { env: { FAKE_TOOLS: at.path("tools") } })], { refuses });
  const log: string[] = [];
  set.onChange(() => toolNames(set).includes("new") && log.push("read again"));
  await set.settled();
  expect(turns.most).toBeLessThanOrEqual(3);
  await set.ask("a", "grow", { name: "new" });
  setTimeout(() => log.push("ten times as long"), 10 * 2 * toolNames(set).length);
  await until(() => log.length === 2, "both", 20_000);
  expect(log).toEqual(["ten times as long", "read again"]);
});

test("a schema that the validator rejects hides its tool", async () => {
  await using set = await listed([fake("a")], { refuses: ({ name }) => (name === "echo" ? "no good" : null) });
  expect(toolNames(set)).not.toContain("echo");
  expect(set.listings()[0]?.missing).toEqual([{ list: "tools", name: "echo", reason: "no good" }]);
});

test("definitions keep their text, including all digits of numbers", () => {
  const text = '{"name":"t","inputSchema":{"type":"object","maximum":12345678901234567890,"x":1.10}, "icons":[]}';
  expect(atOnce(readTools([text], rules)).items).toEqual([{ name: "t", text, inputSchema: expect.anything() }]);
});

test("S05 S09: tools with an unusable schema or x-mcp-header are left out with a reason, from any server", () => {
  const bad = [{ $ref: "http://evil.example" }, { properties: { a: { type: "string", "x-mcp-header": "Bad Name" } } }];
  const texts = [...bad, {}].map((schema, at) =>
    JSON.stringify({ name: `t${at}`, inputSchema: { type: "object", ...schema } }),
  );
  const { refuses } = createValidator(systemClock);
  const { items, missing } = atOnce(readTools(texts, { ...rules, refuses }));
  expect(items.map(({ name }) => name)).toEqual(["t2"]);
  expect(missing.map(({ name }) => name)).toEqual(["t0", "t1"]);
  expect(missing.map(({ reason }) => reason)).toEqual([
    expect.stringContaining("evil.example"),
    '"x-mcp-header" is not an HTTP token',
  ]);
});

test("S05: a tool whose name is too long to be called is left out", () => {
  const [text = "", long = ""] = [8192, 8193].map((length) =>
    JSON.stringify({ name: "x".repeat(length), inputSchema: { type: "object" } }),
  );
  const { items, missing } = atOnce(readTools([text, long], rules));
  expect(items.map((tool) => tool.text)).toEqual([text]);
  expect(missing).toEqual([
    { name: `${"x".repeat(99)}…`, reason: "a tool with more than 8192 characters in its name" },
  ]);
});

test("S05: a definition that is nested too deeply is left out", () => {
  const text = `{"name":"t","inputSchema":{"a":${"[".repeat(30)}${"]".repeat(30)}}}`;
  expect(atOnce(readTools([text], rules)).missing[0]?.reason).toContain("nested deeper");
});

test("a list that cannot be stored is still offered, with a warning", async () => {
  const lists = {
    ...memoryLists(),
    remember() {
      throw new Error("database is locked");
    },
  };
  await using set = await listed([fake("a")], { lists });
  expect(set.status()[0]).toMatchObject({ state: "ready" });
  expect(toolNames(set)).toContain("echo");
  expect(set.warnings.join()).toContain("database is locked");
});

const silent = ["initialize", "server/discover", "tools/list"];
test.each(silent)("waiting for a server that never answers %s ends with the timeout", async (hangs) => {
  using server = serve(({ method, id }) => {
    if (method === hangs) return new Promise<Response>(() => {});
    if (method === "initialize") return greets(id, { tools: {} });
    return null;
  });
  await using set = await listed([http("a", server.url, { timeout: "150ms" })], { tuning: { start: 60_000 } });
  expect(set.status()[0]).toMatchObject({ state: "backoff", reason: expect.stringContaining("150ms") });
});

for (const wanted of [false, true]) {
  test(`a redeployed legacy server is listed again, with its new lists${wanted ? ", at the first call" : ""}`, async () => {
    let session = 0;
    let capabilities: unknown = { tools: { listChanged: true } };
    let tools = ["old"];
    using server = serve(({ method, id }, request) => {
      const own = request.headers.get("mcp-session-id");
      if (method === "initialize") {
        return reply(
          id,
          { protocolVersion: "2025-11-25", capabilities, instructions: tools[0] },
          { "mcp-session-id": `${session}-${crypto.randomUUID()}` },
        );
      }
      if (own !== null && !own.startsWith(`${session}-`)) return refusal(id, -32001, "Session not found", 404);
      if (method === "tools/list") return reply(id, { tools: list(tools) });
      return method === "prompts/list" ? reply(id, { prompts: [{ name: "p" }] }) : null;
    });
    const options = http("a", server.url, { getStream: "off" });
    await using set = await listed([wanted ? options : { ...options, healthCheck: 200 }]);
    if (wanted) await set.ask("a", "old");
    expect(toolNames(set)).toEqual(["old"]);
    session++;
    capabilities = { tools: {}, prompts: {} };
    tools = ["new"];
    if (wanted) await set.ask("a", "new");
    await until(
      () => toolNames(set)[0] === "new" && set.listings()[0]?.prompts.length === 1,
      "the new version's lists",
    );
    expect(set.listings()[0]).toMatchObject({ capabilities, instructions: "new", missing: [] });
    expect([set.status()[0]?.restarts, server.of("subscriptions/listen")]).toEqual([0, []]);
  });
}

test("a redeployed modern server is listed again, and listened to for the changes that it announces now", async () => {
  let capabilities: unknown = { tools: {} };
  let tools = ["old"];
  let ended = 0;
  using server = serve(({ method, id }, request) => {
    if (method === "server/discover") return discovers(id, capabilities);
    if (method === "initialize") return new Response(null, { status: 404 });
    if (method === "tools/list") return reply(id, { tools: list(tools) });
    if (method === "subscriptions/listen") {
      request.signal.addEventListener("abort", () => ended++);
      return new Promise<Response>(() => {});
    }
    return method === "prompts/list" ? reply(id, { prompts: [{ name: "p" }] }) : null;
  });
  await using set = await listed([{ ...http("a", server.url), healthCheck: 200 }]);
  await until(() => server.of("server/discover").length > 2, "some health checks");
  expect([server.of("tools/list").length, server.of("subscriptions/listen").length]).toEqual([1, 0]);
  capabilities = { tools: {}, prompts: { listChanged: true } };
  tools = ["new"];
  await until(() => toolNames(set)[0] === "new" && set.listings()[0]?.prompts.length === 1, "the new version's lists");
  await until(() => server.of("subscriptions/listen").length === 1, "the listening request");
  expect(server.of("subscriptions/listen")[0]?.message.params?.["notifications"]).toEqual({ promptsListChanged: true });
  capabilities = { tools: { listChanged: true }, prompts: { listChanged: true } };
  await until(() => server.of("subscriptions/listen").length === 2 && ended === 1, "a request in place of that one");
  expect(set.status()[0]?.restarts).toBe(0);
});

test("auto: when an older server replaces a modern one, its era is used before its lists are due", async () => {
  let old = false;
  using server = serve(({ id, method }, request) => {
    if (!old && method === "server/discover") return discovers(id, { tools: {} });
    if (method === "initialize" && old) return greets(id, { tools: {} }, { "mcp-session-id": "s" });
    if (old && !request.headers.has("mcp-session-id")) return refusal(id, -32000, "Bad Request: no session", 400);
    return method === "tools/list" ? reply(id, { tools: list([old ? "old" : "new"]), resultType: "complete" }) : null;
  });
  await using set = await listed([{ ...http("a", server.url, { getStream: "off" }), healthCheck: 100 }]);
  expect([set.status()[0]?.era, toolNames(set)]).toEqual(["modern", ["new"]]);
  old = true;
  await until(() => set.status()[0]?.state === "ready" && toolNames(set)[0] === "old", "the older server's list");
  expect(set.status()).toMatchObject([{ era: "legacy", restarts: 1 }]);
});

test("a modern server whose instructions contain the time is not listed again for that, but its next listing shows them", async () => {
  const streams: Stream[] = [];
  using server = serve(({ method, id, params }) => {
    const instructions = `check ${server.of("server/discover").length}`;
    const capabilities = { tools: { listChanged: true } };
    if (method === "server/discover") {
      return reply(id, { supportedVersions: ["2026-07-28"], capabilities, instructions });
    }
    if (method === "tools/list") return reply(id, { tools: list(["t"]) });
    if (method !== "subscriptions/listen") return null;
    return listening(id, params?.["notifications"], (stream) => streams.push(stream));
  });
  const options = { ...http("a", server.url), healthCheck: 50 };
  await using set = upstreams([options]);
  // A check may take as long as the interval between two checks.
  options.healthCheck = 10_000;
  await set.settled();
  await until(() => server.of("server/discover").length > 5, "some health checks");
  expect([server.of("tools/list").length, server.of("subscriptions/listen").length]).toEqual([1, 1]);
  const first = set.listings()[0]?.instructions;
  const _meta = { [subscriptionIdKey]: server.of("subscriptions/listen")[0]?.message.id };
  streams[0]?.enqueue(told("notifications/tools/list_changed", { _meta }));
  await until(() => set.listings()[0]?.instructions !== first, "the instructions of a later check");
  expect([server.of("tools/list").length, server.of("subscriptions/listen").length]).toEqual([2, 1]);
});

test("lists that a modern server may have changed while nobody was listening are read again", async () => {
  const streams: Stream[] = [];
  let tools = ["old"];
  using server = serve(({ method, id, params }) => {
    if (method === "server/discover") return discovers(id, { tools: { listChanged: true } });
    if (method === "tools/list") return reply(id, { tools: list(tools) });
    if (method !== "subscriptions/listen") return null;
    return listening(id, params?.["notifications"], (stream) => streams.push(stream));
  });
  await using set = await listed([http("a", server.url)]);
  await until(() => streams.length === 1, "the gateway to listen");
  tools = ["new"];
  streams[0]?.close();
  await until(() => toolNames(set)[0] === "new", "the new list");
});

test("a list of a modern server that changes during the first reading is read again", async () => {
  const listens = Promise.withResolvers<Stream>();
  let tools = ["old"];
  using server = serve(async ({ method, id, params }) => {
    if (method === "server/discover") return discovers(id, { tools: { listChanged: true }, prompts: {} });
    if (method === "tools/list") return reply(id, { tools: list(tools) });
    if (method === "subscriptions/listen") return listening(id, params?.["notifications"], listens.resolve);
    if (method !== "prompts/list") return null;
    const stream = await listens.promise;
    await until(() => server.of("tools/list").length === 1, "the first reading");
    tools = ["new"];
    const _meta = { [subscriptionIdKey]: server.of("subscriptions/listen")[0]?.message.id };
    stream.enqueue(told("notifications/tools/list_changed", { _meta }));
    return reply(id, { prompts: [] });
  });
  await using set = await listed([http("a", server.url)]);
  await until(() => toolNames(set)[0] === "new", "the new list");
});

test("a health check reads again the lists that could not be read, and not the others", async () => {
  using server = serve(({ method, id }) => {
    const capabilities = { tools: {}, prompts: {} };
    if (method === "initialize") return greets(id, capabilities);
    if (method !== "prompts/list") return null;
    if (server.of("prompts/list").length === 1) return refusal(id, -32603, "not now");
    return reply(id, { prompts: [{ name: "p" }] });
  });
  const options = { ...http("a", server.url, { getStream: "off" }), healthCheck: 20 };
  await using set = upstreams([options]);
  options.healthCheck = 10_000;
  await until(() => set.listings()[0]?.prompts.length === 1, "the prompts");
  // Another check may have asked for the same during that reading.
  const read = (): number => server.of("prompts/list").length + server.of("tools/list").length;
  await until(() => server.of("ping").length > 0, "a check after that");
  const before = read();
  await until(() => server.of("ping").length > 2, "further checks");
  expect([read(), set.listings()[0]?.missing]).toEqual([before, []]);
});

test("a list that changes while the others are read for the first time is read again", async () => {
  const script = `
    let asked = 0;
    const say = (message) => console.log(JSON.stringify({ jsonrpc: "2.0", ...message }));
    const tool = (name) => ({ name, inputSchema: { type: "object" } });
    for await (const line of console) {
      const { id, method } = JSON.parse(line);
      const answer = (result) => say({ id, result });
      const capabilities = { tools: { listChanged: true }, prompts: {} };
      if (method === "initialize")
        answer({ protocolVersion: "2025-11-25", capabilities, serverInfo: { name: "x", version: "1" } });
      else if (method === "tools/list") {
        answer({ tools: [tool("old"), ...(asked++ ? [tool("new")] : [])] });
        if (asked === 1) say({ method: "notifications/tools/list_changed" });
      } else if (method === "prompts/list") setTimeout(answer, 300, { prompts: [] });
    }`;
  const options = stdioOptions.parse({ id: "a", command: process.execPath, args: ["-e", script], protocol: "legacy" });
  await using set = await listed([options], { tuning: { debounce: 10 } });
  await until(() => toolNames(set).length === 2, "the new tool");
});
