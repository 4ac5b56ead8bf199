import { expect, test } from "bun:test";
import { systemClock } from "../../../src/core/clock.ts";
import { type LogFacts, silent } from "../../../src/core/log.ts";
import { Turn } from "../../../src/core/turns.ts";
import { recall, readInventory } from "../../../src/upstream/discovery/inventory.ts";
import { faults } from "../../../src/upstream/faults.ts";
import type { SetHost } from "../../../src/upstream/host.ts";
import type { Link, LinkRequest } from "../../../src/upstream/link/link.ts";
import { linkHost } from "../../support/link-host.ts";
import { greets, opens, refusal, reply, serve } from "../../support/mcp-server.ts";
import { fake, http, listed, memoryLists, upstreams } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

const listing = (set: ReturnType<typeof upstreams>) => set.listings()[0];

for (const era of ["legacy", "modern"] as const) {
  test(`everything that a ${era} server declares is listed unchanged, and stored`, async () => {
    const lists = memoryLists();
    const options = fake("a", ["--rich", "--era", era]);
    {
      await using set = await listed([options], { lists });
      expect(listing(set)).toMatchObject({
        prompts: [
          { name: "first", text: '{"name":"first","arguments":[{"name":"a"}]}' },
          { name: "second", text: '{"name":"second","icons":[{"src":"data:,"}]}' },
        ],
        resources: [{ name: "test://a" }, { name: "test://b" }],
        resourceTemplates: [{ name: "test://t/{id}" }],
        capabilities: { tools: { listChanged: true }, resources: { subscribe: true } },
        instructions: "how to use it",
        stale: false,
        reason: null,
        missing: [{ list: "resources", name: "?", reason: "a resource without a uri" }],
      });
    }
    await using again = upstreams([{ ...options, start: "on-demand" }], { lists });
    expect(listing(again)).toMatchObject({
      prompts: [{ name: "first" }, { name: "second" }],
      resources: [{ name: "test://a" }, { name: "test://b" }],
      resourceTemplates: [{ name: "test://t/{id}" }],
      instructions: "how to use it",
      stale: true,
    });
  });
}

test("a broken list does not affect the others, and is tried again", async () => {
  let broken = true;
  using server = serve(({ method, id }) => {
    const capabilities = { tools: {}, prompts: {}, resources: {} };
    if (method === "initialize") return greets(id, capabilities);
    if (method === "prompts/list")
      return broken ? refusal(id, -32603, "prompts are broken") : reply(id, { prompts: [{ name: "p" }] });
    if (method === "resources/list") return reply(id, { resources: [{ uri: "a:b", name: "b" }] });
    if (method === "resources/templates/list") return refusal(id, -32601, "unknown method");
    return null;
  });
  const options = { ...http("a", server.url), healthCheck: 20, refresh: 50 };
  await using set = upstreams([options]);
  // A check may take as long as the interval between two checks.
  options.healthCheck = 10_000;
  await set.settled();
  expect(set.status()[0]?.state).toBe("ready");
  expect(listing(set)).toMatchObject({
    prompts: [],
    resources: [{ name: "a:b" }],
    missing: [{ list: "prompts", name: null, reason: expect.stringContaining("prompts are broken") }],
  });
  broken = false;
  await until(() => listing(set)?.prompts.length === 1, "the list");
  expect(listing(set)?.missing).toEqual([]);
  // Its known content stays when it is broken again.
  broken = true;
  await until(() => listing(set)?.missing?.length === 1, "the next reading");
  expect(listing(set)?.prompts).toMatchObject([{ name: "p" }]);
});

test("the parts of a definition that clients could not read are left out with one warning, and hide no other definition", async () => {
  const tool = (name: string, more = {}) => ({ name, inputSchema: { type: "object" }, ...more });
  const tools = [
    tool("good"),
    tool("null", { description: null, icons: [{ src: "data:,", sizes: "1x1" }] }),
    tool("output", { outputSchema: { type: "object", required: null } }),
    tool("half\ud83d"),
    tool("cut", { title: "a\ud83d" }),
    // One level more than some parsers accept below the top of a list.
    tool("deep", { _meta: { a: JSON.parse("[".repeat(59) + "]".repeat(59)) as unknown } }),
  ];
  using server = serve(({ method, id }) => {
    const capabilities = { tools: {}, resources: {} };
    if (method === "initialize") return greets(id, capabilities);
    if (method === "resources/list") return reply(id, { resources: [{ uri: "a:b" }, { uri: "a:c", name: "c" }] });
    if (method === "resources/templates/list") return reply(id, { resourceTemplates: [] });
    return method === "tools/list" ? reply(id, { tools }) : null;
  });
  const refusesOutput = (): string => "is none";
  await using set = await listed([{ ...http("a", server.url), refresh: 30 }], { refusesOutput });
  const shown = listing(set)?.tools.map(({ text, modernOutput }) => [JSON.parse(text), modernOutput ?? false]);
  expect(shown).toEqual([
    [tool("good"), false],
    [tool("null", { icons: [{ src: "data:," }] }), false],
    [tools[2], true],
    [tool("cut", { title: "a\ufffd" }), false],
  ]);
  expect(listing(set)?.resources.map(({ name }) => name)).toEqual(["a:c"]);
  expect(listing(set)?.missing).toEqual([
    { list: "tools", name: "half\ud83d", reason: "its name contains half of a surrogate pair" },
    { list: "tools", name: "deep", reason: "The message is nested deeper than 60 levels; flatten it." },
    { list: "resources", name: "a:b", reason: "it has no name" },
  ]);
  const asked = server.of("tools/list").length;
  await until(() => server.of("tools/list").length > asked + 1, "another listing");
  const warned = set.warnings.filter((warning) => warning.includes("could not read"));
  expect(warned.length).toBe(3);
  expect(warned.join()).toContain("its description is not a string; its icons[0].sizes is not a list of strings");
  expect(warned.join()).toContain("its outputSchema, which is hidden from clients before 2026-07-28, is none");
});

test("patterns that arguments are not checked against are logged once, with their server", async () => {
  using server = serve(({ method, id }) =>
    method === "tools/list" ? reply(id, { tools: [{ name: "t", inputSchema: { pattern: "(?=x)x" } }] }) : null,
  );
  const unchecked = () => ["(?=x)x"];
  await using set = await listed([{ ...http("a", server.url), refresh: 30 }], { unchecked });
  const asked = server.of("tools/list").length;
  await until(() => server.of("tools/list").length > asked + 1, "another listing");
  const warned = set.warnings.filter((warning) => warning.includes("not checked against"));
  expect(warned).toHaveLength(1);
  expect(warned[0]).toContain('{"server":"a","name":"t","patterns":"\\"(?=x)x\\""}');
});

test("a broken list that a redeployed server no longer has is neither requested nor reported missing", async () => {
  let version = 1;
  using server = serve(({ method, id }, request) => {
    const session = request.headers.get("mcp-session-id");
    const capabilities = version === 1 ? { tools: {}, prompts: {} } : { tools: {} };
    if (method === "initialize") {
      return opens(id, `v${version}`, capabilities);
    }
    if (session !== null && session !== `v${version}`) return refusal(id, -32001, "Session not found", 404);
    return method === "prompts/list" ? refusal(id, -32603, "prompts are broken") : null;
  });
  await using set = await listed([{ ...http("a", server.url, { getStream: "off" }), healthCheck: 20 }]);
  expect(listing(set)?.missing?.length).toBe(1);
  version = 2;
  await until(() => listing(set)?.missing?.length === 0, "the new version's lists");
  // While a list is missing, the health checks read it.
  await until(() => server.of("ping").length > 0, "a plain health check");
});

test("FIELD T52 T53: the lists of a server are kept while it is down, with the reason", async () => {
  await using set = upstreams([fake("a", ["--rich"])], {
    tuning: { breaker: { first: 5_000, most: 5_000, failures: 9, window: 9_000, rest: 1 } },
  });
  expect(listing(set)).toMatchObject({ tools: [], stale: true, reason: "it is starting" });
  await set.settled();
  process.kill(set.status()[0]?.pids[0] ?? 0, "SIGKILL");
  await until(() => set.status()[0]?.state === "backoff", "the end");
  expect(listing(set)).toMatchObject({
    stale: true,
    reason: expect.stringContaining("SIGKILL"),
    instructions: "how to use it",
  });
  expect(listing(set)?.prompts.length).toBe(2);
});

test("a list that takes too long removes no known entries, adds new ones, and the log says what changed", async () => {
  const pages = [["a", "b", "c"], ["d"]];
  const told: unknown[] = [];
  let slow = false;
  const request = ({ params, timeout }: LinkRequest): Promise<unknown> => {
    const page = params(1)?.includes("cursor") ? 1 : 0;
    if (page === 1 && slow) return Promise.reject(faults.timeout("a", timeout ?? 0));
    const tools = pages[page]?.map((name) => ({ name, inputSchema: { type: "object" }, title: String(slow) }));
    const result = JSON.stringify({ tools, ...(page === 0 && { nextCursor: "2" }) });
    return Promise.resolve({ kind: "result", idText: "1", result });
  };
  const peer = { era: "legacy", revision: "2025-11-25", capabilities: { tools: {} }, instructions: null } as const;
  const host = {
    lists: memoryLists(),
    limits: linkHost.limits,
    refuses: () => null,
    refusesOutput: () => null,
    unchecked: () => [],
    log: { ...silent, info: (...line: unknown[]) => void told.push(line) },
    clock: systemClock,
  };
  const of = {
    // Longer than a whole listing may take.
    instance: { link: { host: { ...linkHost, timeout: () => 120_000 }, request } as unknown as Link, peer },
    options: http("a", "http://127.0.0.1:9/"),
    host: host as unknown as SetHost,
    listed: false,
    turn: new Turn(),
  };
  const whole = await readInventory(of, recall(of.options, of.host), ["tools"]);
  expect(whole.tools.map(({ name }) => name)).toEqual(["a", "b", "c", "d"]);
  slow = true;
  pages[0] = ["a", "new"];
  const late = await readInventory(of, whole, ["tools"]);
  const titles = late.tools.map(({ name, text }) => [name, text.includes('"title":"true"')]);
  expect(titles).toEqual([
    ["a", true],
    ["new", true],
    ["b", false],
    ["c", false],
    ["d", false],
  ]);
  expect(late.missing.tools).toEqual([{ name: null, reason: "its tools/list was cut off: more than 60 s" }]);
  slow = false;
  const again = await readInventory(of, late, ["tools"]);
  expect(again.tools.map(({ name }) => name)).toEqual(["a", "new", "d"]);
  pages[0].reverse();
  const reordered = await readInventory(of, again, ["tools"]);
  expect(reordered.tools.map(({ name }) => name)).toEqual(["new", "a", "d"]);
  const changed = (facts: LogFacts) => [
    "the lists of a server have changed",
    { server: "a", list: "tools", ...facts },
    expect.any(String),
  ];
  expect(told).toEqual([changed({ added: "new", changed: "a" }), changed({ removed: "b, c", changed: "a, new" })]);
});

test("a server that declares no lists is still asked for tools; one that declares some is asked for nothing else", async () => {
  let capabilities: unknown = {};
  using server = serve(({ method, id }) => (method === "initialize" ? greets(id, capabilities) : null));
  {
    await using _ = await listed([http("a", server.url)]);
  }
  expect(server.of("tools/list").length).toBe(1);
  capabilities = { prompts: {} };
  await using _ = await listed([http("a", server.url)]);
  expect(server.of("tools/list").length).toBe(1);
});

test("empty capabilities are known and stored, unlike capabilities that the server has not sent", async () => {
  using bare = serve(({ method, id }) => (method === "initialize" ? greets(id) : null));
  using mute = serve(({ method, id }) => (method === "server/discover" ? refusal(id, -32601, "unknown method") : null));
  const servers = [http("bare", bare.url), { ...http("mute", mute.url), protocol: "modern" as const }];
  const declared = (set: ReturnType<typeof upstreams>) => set.listings().map(({ capabilities }) => capabilities);
  const lists = memoryLists();
  {
    await using set = upstreams(servers, { lists });
    expect(declared(set)).toEqual([null, null]);
    await set.settled();
    expect(set.status().map(({ state }) => state)).toEqual(["ready", "ready"]);
    expect(declared(set)).toEqual([{}, null]);
  }
  await using again = upstreams(
    servers.map((one) => ({ ...one, start: "on-demand" as const })),
    { lists },
  );
  expect(declared(again)).toEqual([{}, null]);
  expect(lists.remembered.size).toBe(2);
});

test("a list of a server with unknown capabilities is kept while it cannot be read, and the reason is reported", async () => {
  let fault: "prompts" | "all" | null = null;
  let dropped = false;
  using server = serve(({ method, id }) => {
    if (method === "server/discover" && fault !== "all") return refusal(id, -32601, "unknown method");
    if (fault === "all" || (fault === "prompts" && method === "prompts/list"))
      return refusal(id, -32603, `${fault} are broken`, 500);
    if (method !== "prompts/list") return null;
    return dropped ? refusal(id, -32601, "unknown method", 404) : reply(id, { prompts: [{ name: "p" }] });
  });
  const options = { ...http("a", server.url, { protocol: "modern" }), refresh: 20 };
  await using set = await listed([options]);
  const told = () =>
    listing(set)
      ?.missing?.map(({ reason }) => reason)
      .join();
  expect(listing(set)).toMatchObject({ prompts: [{ name: "p" }], resources: [], missing: [] });
  fault = "prompts";
  await until(() => told()?.includes("prompts are broken") === true, "the reason");
  expect([listing(set)?.prompts.length, set.status()[0]?.state]).toEqual([1, "ready"]);
  fault = "all";
  await until(() => set.status()[0]?.state !== "ready", "its end");
  expect(listing(set)?.prompts.length).toBe(1);
  fault = null;
  dropped = true;
  await until(() => listing(set)?.prompts.length === 0, "a version without prompts");
  expect(listing(set)?.missing).toEqual([]);
});

test("a list that breaks in another way is reported like any change", async () => {
  let why = "first";
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: {}, prompts: {} });
    return method === "prompts/list" ? refusal(id, -32603, why) : null;
  });
  await using set = await listed([{ ...http("a", server.url, { getStream: "off" }), refresh: 20 }]);
  const told: unknown[] = [];
  set.onChange(() => void told.push(listing(set)?.missing?.map(({ reason }) => reason)));
  why = "second";
  await until(() => told.length > 0, "the other reason");
  expect(told).toEqual([["prompts/list: second"]]);
});

test("a list that breaks in another way at each reading is not stored more often for that", async () => {
  let stored = 0;
  const lists = memoryLists();
  const counting = {
    ...lists,
    remember(...all: Parameters<typeof lists.remember>) {
      stored++;
      lists.remember(...all);
    },
  };
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: {}, prompts: {} });
    if (method !== "prompts/list") return null;
    return refusal(id, -32603, `request ${server.of("prompts/list").length} failed`);
  });
  await using set = await listed([{ ...http("a", server.url, { getStream: "off" }), refresh: 20 }], {
    lists: counting,
  });
  await until(() => set.status()[0]?.reason?.includes("request 4") === true, "some readings");
  expect(stored).toBe(1);
});

test("lists are stored once the tools are known, even if there are none", async () => {
  let broken = true;
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: {}, prompts: {} });
    if (method === "prompts/list") return reply(id, { prompts: [{ name: "p" }] });
    if (method !== "tools/list") return null;
    return broken ? refusal(id, -32603, "tools are broken") : reply(id, { tools: [] });
  });
  const lists = memoryLists();
  await using set = await listed([{ ...http("a", server.url, { getStream: "off" }), refresh: 20 }], { lists });
  expect(lists.remembered.size).toBe(0);
  broken = false;
  await until(() => set.status()[0]?.reason === null, "the list of tools");
  expect(lists.remembered.get("a")).toMatchObject({ tools: [], prompts: ['{"name":"p"}'] });
});

test("a list that an on-demand server cannot provide is logged once per reason, not at each check", async () => {
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: {}, prompts: {} });
    if (method === "tools/list") return refusal(id, -32603, server.of(method).length < 5 ? "first" : "second");
    return method === "prompts/list" ? reply(id, { prompts: [], nextCursor: "same" }) : null;
  });
  const options = { ...http("a", server.url, { getStream: "off", start: "on-demand" }), healthCheck: 100 };
  await using set = await listed([options]);
  await until(() => server.of("tools/list").length > 8, "some checks");
  const told = (word: string): number => set.warnings.filter((text) => text.includes(word)).length;
  expect([told("first"), told("second"), told("a cursor was repeated")]).toEqual([1, 1, 1]);
});

test("instructions are limited in length", async () => {
  using server = serve(({ method, id }) =>
    method === "initialize"
      ? reply(id, { protocolVersion: "2025-11-25", capabilities: {}, instructions: "x".repeat(1_000_000) })
      : null,
  );
  await using set = await listed([http("a", server.url)]);
  expect(listing(set)?.instructions?.length).toBe(4_096);
});

test.each([
  [57, { tools: {}, extensions: { "com.acme/x": expect.anything() } }],
  [58, { tools: {} }],
])("capabilities with settings nested in %d lists are passed on if common parsers accept them", async (lists, kept) => {
  const settings = { a: JSON.parse("[".repeat(lists) + "]".repeat(lists)) as unknown };
  const capabilities = { tools: {}, extensions: { "com.acme/x": settings } };
  using server = serve(({ method, id }) => (method === "initialize" ? greets(id, capabilities) : null));
  await using set = await listed([http("a", server.url)]);
  expect(listing(set)?.capabilities).toEqual(kept);
});
