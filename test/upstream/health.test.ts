import { expect, test } from "bun:test";
import { join } from "node:path";
import { discovers, greets, listening, refusal, reply, serve, type Stream, text } from "../support/mcp-server.ts";
import { until } from "../support/until.ts";
import { http, listed, serveFake, toolNames } from "../support/upstream.ts";

const list = (names: readonly string[]) => names.map((name) => ({ name, inputSchema: { type: "object" } }));

test("a modern server that answers its health checks with errors for a while is neither listed again nor reported as crashed", async () => {
  let fails = false;
  using server = serve(({ id, method }) => {
    if (fails && method !== undefined) return refusal(id, -32603, "too much to do");
    if (method === "server/discover") return discovers(id, { tools: {} });
    return method === "tools/list" ? reply(id, { tools: list(["t"]), resultType: "complete" }) : null;
  });
  await using set = await listed([{ ...http("a", server.url, { protocol: "modern" }), healthCheck: 100 }]);
  const checks = server.of("server/discover").length;
  fails = true;
  await until(() => server.of("server/discover").length > checks + 3, "some checks");
  expect(server.of("tools/list")).toHaveLength(1);
  expect(set.status()).toMatchObject([{ state: "ready", restarts: 0 }]);
});

const limited = { status: 429, headers: { "retry-after": "1" } };
const bare = (): Response => new Response("slow down", limited);
const inJson = (id: unknown): Response =>
  Response.json({ jsonrpc: "2.0", id, error: { code: -32000, message: "slow down" } }, limited);

test.each([
  ["modern", "a 429", bare],
  ["modern", "a 429 with a JSON-RPC error", inJson],
  ["legacy", "a 429", bare],
  ["legacy", "a 429 with a JSON-RPC error", inJson],
] as const)(
  "a %s server that answers checks and lists with %s keeps running and is listed later",
  async (era, _, slow) => {
    let slows = false;
    let tools = ["old"];
    using server = serve(({ id, method }) => {
      if (slows && method !== undefined) return slow(id);
      if (era === "modern" && method === "server/discover") return discovers(id, { tools: {} });
      if (method === "initialize") return greets(id, { tools: {} });
      return method === "tools/list" ? reply(id, { tools: list(tools), resultType: "complete" }) : null;
    });
    const options = { ...http("a", server.url, { protocol: era }), healthCheck: 100 };
    await using set = await listed([{ ...options, refresh: 500 }]);
    const listings = server.of("tools/list").length;
    const checks = server.of(era === "modern" ? "server/discover" : "ping").length;
    slows = true;
    await until(() => server.of("tools/list").length > listings + 3, "some readings");
    expect(server.of(era === "modern" ? "server/discover" : "ping").length).toBeGreaterThan(checks);
    expect(set.status()).toMatchObject([{ state: "ready", restarts: 0, reason: expect.stringContaining("slow") }]);
    expect([toolNames(set), set.warnings.filter((text) => text.includes("cannot be read")).length]).toEqual([
      ["old"],
      1,
    ]);
    slows = false;
    tools = ["new"];
    await until(() => toolNames(set)[0] === "new" && set.status()[0]?.reason === null, "its lists");
    expect(set.events.map(({ type }) => type)).not.toContain("server.crashed");
  },
);

test("a 503 may come from a proxy with no server behind it, even with Retry-After: the server is not ready", async () => {
  let gone = false;
  using server = serve(() => (gone ? new Response(null, { ...limited, status: 503 }) : null));
  await using set = await listed([{ ...http("a", server.url, { protocol: "legacy" }), healthCheck: 100 }]);
  gone = true;
  await until(() => set.status()[0]?.state === "backoff", "its end");
  expect(set.status()[0]?.reason).toContain("HTTP 503");
});

test.each([429, 503])(
  "a server that answers %i when asked whether it speaks legacy is asked again by the next caller",
  async (status) => {
    const busy = (): Response => new Response("slow down", { ...limited, status });
    using server = serve(({ id, method }) => {
      if (method === "server/discover") return discovers(id, { tools: {} });
      if (method === "initialize") return server.of(method).length === 1 ? busy() : greets(id, { tools: {} });
      return method === "tools/call" ? reply(id, { ...text("ok"), resultType: "complete" }) : null;
    });
    await using set = await listed([http("a", server.url, { getStream: "off" })]);
    const eras = [await set.ask("a", "t"), await set.ask("a", "t")].map(({ era }) => era);
    expect(eras).toEqual(["modern", "legacy"]);
  },
);

test("a modern server that asks to wait when the listening stream is opened is listened to later", async () => {
  const streams: Stream[] = [];
  using server = serve(({ method, id, params }) => {
    if (method === "server/discover") return discovers(id, { tools: { listChanged: true } });
    if (method === "tools/list") return reply(id, { tools: list(["t"]), resultType: "complete" });
    if (method !== "subscriptions/listen") return null;
    if (server.of(method).length === 1) return inJson(id);
    return listening(id, params?.["notifications"], (stream) => streams.push(stream));
  });
  await using set = await listed([http("a", server.url, { protocol: "modern" })]);
  await until(() => streams.length === 1, "the gateway to listen");
  expect(set.status()).toMatchObject([{ state: "ready", streams: 1 }]);
});

const moduleAt = (path: string): string => JSON.stringify(join(import.meta.dir, "../..", path));

/** A program that calls servers at these URLs before, during and after a shortage of file descriptors. */
const starve = (httpUrl: string, wsUrl: string): string => `
  import { closeSync, openSync } from "node:fs";
  import { until } from ${moduleAt("test/support/until.ts")};
  import { principal } from ${moduleAt("test/support/principal.ts")};
  import { fake, http, listed } from ${moduleAt("test/support/upstream.ts")};
  const common = { protocol: "legacy", getStream: "off" };
  const set = await listed([
    { ...http("http", ${JSON.stringify(httpUrl)}, common), healthCheck: 100, refresh: 300 },
    http("ws", ${JSON.stringify(wsUrl)}, { ...common, transport: "websocket" }),
    fake("stdio"),
  ]);
  const call = (server, name) => set.ask(server, "echo", {}, { who: principal(name) }).then(() => "ok", ({ code }) => code);
  const before = [await call("http", "alice"), await call("ws", "alice"), await call("stdio", "alice")];
  const fds = [];
  const fill = setInterval(() => {
    try {
      for (;;) fds.push(openSync("/dev/null", "r"));
    } catch {}
  }, 1);
  await until(() => set.status()[0].reason !== null, "a check in vain", 10_000);
  const during = [await call("http", "bob"), await call("ws", "bob"), await call("stdio", "bob")];
  clearInterval(fill);
  for (const fd of fds) closeSync(fd);
  await until(() => set.status()[0].reason === null, "a check that goes through", 10_000);
  const after = [await call("http", "bob"), await call("ws", "bob"), await call("stdio", "bob")];
  const told = [set.status().map(({ state, restarts }) => [state, restarts]), set.events.map(({ type }) => type).filter((type) => type !== "server.started")];
  console.log(JSON.stringify({ before, during, after, told }));
  process.exit();`;

test.each([
  ["any transport", "127.0.0.1"],
  ["also when the shortage makes the name lookup fail", "localhost"],
])(
  "a shortage of file descriptors in the gateway is not reported as a crash of the server: %s",
  async (_, host) => {
    const at = (url: string): string => url.replace("127.0.0.1", host);
    using server = serve(({ id, method }) => {
      // A connection that is kept open would need no new descriptor.
      const headers = { connection: "close" };
      if (method === "initialize") return greets(id, { tools: {} }, headers);
      return reply(id, method === "tools/list" ? { tools: list(["echo"]) } : {}, headers);
    });
    await using ws = await serveFake(["--websocket"]);
    const few = ["sh", "-c", 'ulimit -n 128; exec "$@"', "sh"];
    const child = Bun.spawn([...few, process.execPath, "-e", starve(at(server.url), at(ws.url))], {
      stdout: "pipe",
      stderr: "inherit",
    });
    expect(await child.stdout.json()).toEqual({
      before: ["ok", "ok", "ok"],
      during: ["overloaded", "overloaded", "overloaded"],
      after: ["ok", "ok", "ok"],
      told: [
        [
          ["ready", 0],
          ["ready", 0],
          ["ready", 0],
        ],
        [],
      ],
    });
  },
  30_000,
);
