import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type Daemon, everything, fake, start } from "../support/daemon.ts";
import { isCall, reply, serve } from "../support/mcp-server.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { until } from "../support/until.ts";
import {
  type Answer,
  type Event,
  initialize,
  modern,
  numberedOf,
  openSocket,
  pick,
  request,
  textOf,
  toolCall,
} from "../support/wire.ts";

// Every transport of a running daemon except a plain POST: scopes, HTTP+SSE, WebSockets, sessions and their ends.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = {
  servers: [fake("one"), fake("two", [], { isolation: "shared" })],
  policies: [everything()],
};

let daemon: Daemon;
let key: string;

beforeAll(async () => {
  daemon = await start(config);
  key = await daemon.place.key("alice");
});
afterAll(() => daemon[Symbol.asyncDispose]());

const auth = () => ({ authorization: `Bearer ${key}` });

async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(`${daemon.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...auth(), ...headers },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  const json: unknown = text.startsWith("{") ? JSON.parse(text) : null;
  return { status: response.status, headers: response.headers, text, json, events: [] };
}

const namesIn = (answer: Answer): string[] =>
  (pick(answer.json, "result.tools") as { name: string }[]).map(({ name }) => name); // a list has names

const recordsOf = async (id: string) =>
  (await daemon.place.records()).filter(({ rpc }) => rpc === JSON.stringify(id)).map(({ type }) => type);

test("S32, FIELD T22: the endpoint of one server lists and calls only that server, with or without a trailing slash", async () => {
  const before = daemon.place.calls("two");
  for (const path of ["/mcp/one", "/mcp/one/"]) {
    const names = namesIn(await post(path, request("tools/list")));
    expect(names.length).toBeGreaterThan(0);
    expect(names.every((name) => name.startsWith("one__"))).toBe(true);
    expect(textOf((await post(path, toolCall("one__echo", { n: 1 }))).json)).toContain('"n":1');
    expect(await post(path, toolCall("two__echo", {}, "outside"))).toMatchObject({ json: { error: { code: -32602 } } });
  }
  expect(daemon.place.calls("two")).toEqual(before);
  const all = namesIn(await post("/mcp/", request("tools/list")));
  expect(new Set(all.map((name) => name.split("__")[0]))).toEqual(new Set(["one", "two"]));
});

/** Returns how often a consumer has tried an endpoint that is not served to it. */
const tried = async (who: string): Promise<number> =>
  (await daemon.place.records()).filter(({ consumer, code }) => consumer === who && code === "unknown-endpoint").length;

test("S32: a server that a caller may not use has no endpoint for it, exactly like one that does not exist", async () => {
  const stranger = { authorization: `Bearer ${await daemon.place.key("eve", "nobody")}` };
  const asked = async (server: string) => {
    const upgrade = { ...stranger, connection: "upgrade", upgrade: "websocket" };
    const answers = await Promise.all([
      post(`/mcp/${server}`, request("tools/list"), stranger),
      post(`/mcp/${server}`, initialize("2025-11-25"), stranger),
      daemon.get(`/${server}/sse`, stranger),
      daemon.get(`/ws/${server}`, upgrade),
    ]);
    return answers.map(({ status, text }) => [status, text]);
  };
  const missing = await asked("none");
  expect(missing.map(([status]) => status)).toEqual([404, 404, 404, 404]);
  expect(await asked("one")).toEqual(missing);
  // The caller is told nothing, but the attempt is recorded.
  await until(async () => (await tried("eve")) === 2 * missing.length, "a record of each");
});

/** Opens HTTP+SSE below a path, and lists its tools first. */
async function openPair(below: string) {
  const stream = await fetch(`${daemon.url}${below}/sse`, { headers: { ...auth(), accept: "text/event-stream" } });
  const reader = stream.body!.getReader();
  let text = "";
  const read = async (end: RegExp): Promise<string> => {
    while (!end.test(text)) text += new TextDecoder().decode((await reader.read()).value);
    return end.exec(text)?.[1] ?? "";
  };
  const path = await read(/data: (\S*\/messages\?sessionId=\S+)\n/);
  expect(path).toStartWith(`${below}/messages`);
  expect((await post(path, initialize("2024-11-05", "old-init"))).status).toBe(202);
  await read(/"id":"old-init"/);
  await post(path, { jsonrpc: "2.0", method: "notifications/initialized" });
  await post(path, request("tools/list", {}, "old-list"));
  const list = JSON.parse(await read(/data: (.*"id":"old-list".*)\n/)) as unknown;
  const names = (pick(list, "result.tools") as { name: string }[]).map(({ name }) => name);
  return { path, read, names, close: () => reader.cancel() };
}

test("R50: the gateway's own HTTP+SSE endpoint lists the tools of all servers except tools that find or call tools, and calls each", async () => {
  const { path, read, names, close } = await openPair("");
  expect(new Set(names.map((name) => name.split("__")[0]))).toEqual(new Set(["one", "two"]));
  for (const server of ["one", "two"]) {
    await post(path, toolCall(`${server}__echo`, { from: server }, `pair-${server}`));
    expect(await read(new RegExp(`data: (.*"id":"pair-${server}".*)\n`))).toContain(`\\"from\\":\\"${server}`);
  }
  await close();
});

test("R50 R65: the HTTP+SSE endpoint of a server lists and calls within it, and everything is recorded", async () => {
  const { path, read, names, close } = await openPair("/two");
  expect(names.filter((name) => !name.startsWith("two__"))).toEqual([]);
  await post(path, toolCall("two__echo", { old: true }, "old-call"));
  expect(await read(/data: (.*"id":"old-call".*)\n/)).toContain('\\"old\\":true');
  await post(path, toolCall("one__echo", {}, "old-outside"));
  expect(await read(/data: (.*"id":"old-outside".*)\n/)).toContain("-32602");
  expect(await recordsOf("old-call")).toEqual(["call.begin"]);
  expect(await recordsOf("old-outside")).toEqual(["call.refused"]);
  const sess = (await daemon.place.records()).find(({ rpc }) => rpc === '"old-call"')?.sess;
  expect(sess).toBeString();
  await close();
  const closed = async () =>
    (await daemon.place.records()).some(
      ({ type, facts }) => type === "session.close" && pick(facts, "session") === sess,
    );
  await until(closed, "the end of its session to be recorded", 10_000);
});

test("R98: a WebSocket: handshake, list and call work, and the end of its session is recorded", async () => {
  const ws = openSocket(daemon.url, "/ws/one", key, ["mcp"]);
  const got: unknown[] = [];
  ws.onmessage = ({ data }) => void got.push(JSON.parse(String(data)));
  await new Promise<void>((resolve) => (ws.onopen = () => resolve()));
  const ask = (message: { id: unknown }) => {
    ws.send(JSON.stringify(message));
    return until(() => got.find((one) => pick(one, "id") === message.id), "the answer");
  };
  expect(await ask(initialize("2025-11-25", "ws-init"))).toMatchObject({ result: { protocolVersion: "2025-11-25" } });
  expect(JSON.stringify(await ask(request("tools/list", {}, "ws-list")))).not.toContain("two__");
  expect(textOf(await ask(toolCall("one__echo", { ws: true }, "ws-call")))).toContain('"ws":true');
  expect(await recordsOf("ws-call")).toEqual(["call.begin"]);
  const before = (await daemon.place.records()).filter(({ type }) => type === "session.close").length;
  ws.close();
  const closed = async () =>
    (await daemon.place.records()).filter(({ type }) => type === "session.close").length === before + 1;
  await until(closed, "the end of its session to be recorded", 10_000);
});

test("a client on standard streams beside a daemon has a session, which is counted and recorded", async () => {
  const sessions = async () => Number(/^mcpgw_sessions (\d+)$/m.exec((await daemon.get("/metrics")).text)?.[1]);
  const before = await sessions();
  const count = async (type: string) => (await daemon.place.records()).filter((one) => one.type === type).length;
  const [opened, closed] = [await count("session.open"), await count("session.close")];
  {
    await using client = new StdioClient(daemon.place, { MCPGW_API_KEY: key });
    await client.open("2025-03-26");
    expect(await sessions()).toBe(before + 1);
    client.send([request("ping", {}, "b1"), toolCall("one__echo", { batch: 1 }, "b2")]);
    const batch = await client.got((message) => Array.isArray(message));
    expect((batch as unknown[]).map((one) => pick(one, "id"))).toEqual(["b1", "b2"]);
    expect(await count("session.open")).toBe(opened + 1);
  }
  await until(async () => (await count("session.close")) === closed + 1, "the end to be recorded", 10_000);
  const call = (await daemon.place.records()).find(({ rpc }) => rpc === '"b2"');
  expect(call).toMatchObject({ type: "call.begin", sess: expect.any(String) });
});

test("a client that sends a batch and closes its end at once still gets the answers", async () => {
  await using client = new StdioClient(daemon.place, { MCPGW_API_KEY: key });
  await client.open("2025-03-26");
  client.send([toolCall("one__slow", { ms: 100 }, "late"), { jsonrpc: "2.0", id: "nobody's", result: {} }]);
  const from = performance.now();
  expect(await client.end()).toBe(0);
  // A missing answer is awaited for 2 s.
  expect(performance.now() - from).toBeLessThan(2_000);
  expect(client.lines.at(-1)).toContain('"id":"late"');
});

test("a client that ends its session during a call cancels the call, even at a server over HTTP", async () => {
  const tools = [{ name: "x", inputSchema: { type: "object" } }];
  using web = serve((message) => {
    if (message.method === "tools/list") return reply(message.id, { tools });
    return isCall(message) ? new Promise<null>(() => {}) : null;
  });
  await using own = await start({
    servers: [{ id: "web", url: web.url, isolation: "per-session" }],
    policies: [everything()],
  });
  const alice = await own.place.key("alice");
  const session = await own.session(alice);
  const call = own.post(toolCall("web__x", {}, "ended"), { key: alice, headers: session });
  await until(() => web.of("tools/call").length === 1, "it runs");
  const headers = { ...session, authorization: `Bearer ${alice}` };
  expect((await fetch(`${own.url}/mcp`, { method: "DELETE", headers })).status).toBe(204);
  expect((await call).text).toBe("");
  const end = await until(
    async () => (await own.place.records()).find(({ type }) => type === "call.end"),
    "it is recorded",
  );
  expect(end).toMatchObject({ st: "cancelled" });
  expect(own.log.filter(({ level }) => level === "error")).toEqual([]);
});

test("an endpoint that a reload removes still serves the running calls of its sessions, and nothing else", async () => {
  const reload = async (toolsets: unknown[]): Promise<void> => {
    daemon.place.configure({ ...config, toolsets });
    await daemon.place.json("config", "reload");
  };
  await reload([{ id: "desk", include: ["one:*"] }]);
  const { params, ...hello } = initialize("2025-11-25");
  const opened = await post("/mcp/desk", { ...hello, params: { ...params, capabilities: { elicitation: {} } } });
  const session = {
    "mcp-session-id": opened.headers.get("mcp-session-id") ?? "",
    "mcp-protocol-version": "2025-11-25",
  };
  const open = (init: RequestInit, headers: Record<string, string>) =>
    fetch(`${daemon.url}/mcp/desk`, {
      ...init,
      headers: { ...auth(), ...session, accept: "text/event-stream", ...headers },
    });
  const messageIn = async (events: AsyncGenerator<Event, undefined>): Promise<Event> => {
    for await (const event of events) if (event.data !== null) return event;
    throw new Error("the stream ended");
  };
  const body = toolCall("one__ask", { method: "elicitation/create", params: { message: "?", requestedSchema: {} } });
  const call = await open({ method: "POST", body: JSON.stringify(body) }, { "content-type": "application/json" });
  const question = await messageIn(numberedOf(call));
  expect(question.data).toMatchObject({ method: "elicitation/create" });
  const before = daemon.place.calls("one").length;
  const hangs = post("/mcp/desk", toolCall("one__hang", {}, "hangs"), session);
  await until(() => daemon.place.calls("one").length > before, "it runs");
  await reload([]);
  expect((await post("/mcp/desk", request("tools/list"))).status).toBe(404);
  const begins = [toolCall("one__echo", {}, "new"), hello, [toolCall("one__echo", {}, "new")], request("ping")];
  for (const message of begins) expect((await post("/mcp/desk", message, session)).status).toBe(404);
  const discover = modern("server/discover");
  expect((await post("/mcp/desk", discover.body, { ...session, ...discover.headers })).status).toBe(404);
  const cancel = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "hangs" } };
  expect((await post("/mcp/desk", cancel, session)).status).toBe(202);
  expect((await hangs).text).toBe("");
  const result = { action: "accept", content: { n: 1 } };
  const answer = { jsonrpc: "2.0", id: pick(question.data, "id"), result };
  expect((await post("/mcp/desk", answer, session)).status).toBe(202);
  const rest = await open({ method: "GET" }, { "last-event-id": question.id ?? "" });
  expect(textOf((await messageIn(numberedOf(rest))).data)).toContain('"accept"');
  expect((await open({ method: "DELETE" }, {})).status).toBe(204);
  expect((await post("/mcp/desk", cancel, session)).status).toBe(404);
});

test("an endpoint that a reload removes accepts batches about running calls, and none that begins one", async () => {
  const reload = async (toolsets: unknown[]): Promise<void> => {
    daemon.place.configure({ ...config, toolsets });
    await daemon.place.json("config", "reload");
  };
  await reload([{ id: "desk", include: ["one:*"] }]);
  const opened = await post("/mcp/desk", initialize("2025-03-26"));
  const session = { "mcp-session-id": opened.headers.get("mcp-session-id") ?? "" };
  const before = daemon.place.calls("one").length;
  const hangs = post("/mcp/desk", toolCall("one__hang", {}, "hangs"), session);
  await until(() => daemon.place.calls("one").length > before, "it runs");
  await reload([]);
  const cancel = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "hangs" } };
  expect((await post("/mcp/desk", [cancel, toolCall("one__echo", {}, "new")], session)).status).toBe(404);
  expect((await post("/mcp/desk", [cancel], session)).status).toBe(202);
  expect((await hangs).text).toBe("");
});

test("FIELD T34: stray requests, second streams and partial use of the old transport end nothing", async () => {
  const session = await daemon.session(key);
  const streams = await Promise.all(
    [
      { path: "/mcp", headers: session },
      { path: "/mcp", headers: session },
      { path: "/sse", headers: {} },
      { path: "/sse", headers: {} },
    ].map(({ path, headers }) =>
      fetch(`${daemon.url}${path}`, { headers: { ...auth(), accept: "text/event-stream", ...headers } }),
    ),
  );
  expect(streams.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  for (const path of ["/messages", "/messages?sessionId=x", "/one/messages?sessionId=x", "/sse", "/ws", "/mcp/one"]) {
    for (const body of [{}, [], "x", { jsonrpc: "2.0", id: 1, result: {} }]) {
      expect((await post(path, body)).status).toBeWithin(200, 500);
    }
  }
  expect((await daemon.call("one__echo", {}, key)).status).toBe(200);
  expect(daemon.exited).toBe(false);
  for (const stream of streams) await stream.body?.cancel();
});

test("FIELD T48: open sessions, streams and questions are counted", async () => {
  const session = await daemon.session(key);
  const stream = await daemon.stream(key, session);
  const { text } = await daemon.get("/metrics");
  const value = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1]);
  expect(value("mcpgw_sessions")).toBeGreaterThan(0);
  expect(value("mcpgw_streams")).toBeGreaterThan(0);
  for (const name of ["mcpgw_client_requests", "mcpgw_client_answers_stray_total", "mcpgw_notifications_lost_total"]) {
    expect([name, value(name)]).not.toEqual([name, Number.NaN]);
  }
  // The names from the requirement are kept as required; all others follow the conventions of Prometheus.
  const counters = [...text.matchAll(/^# TYPE (mcpgw_\S+) counter$/gm)].map(([, name]) => name);
  expect(counters).toContain("mcpgw_notifications_lost_total");
  for (const name of counters) expect(name).toEndWith("_total");
  await stream.body?.cancel();
});

test("T26: requests refused at the connection limit are counted in /metrics, and logged once a minute", async () => {
  await using crowded = await start({ ...config, listen: { maxConnections: 1 } });
  const own = await crowded.place.key("alice");
  const stream = await crowded.stream(own, await crowded.session(own));
  expect(stream.status).toBe(200);
  for (const _ of [1, 2]) expect((await crowded.call("one__echo", {}, own)).status).toBe(503);
  expect((await crowded.get("/metrics")).text).toContain("mcpgw_connections_refused_total 2\n");
  const isIt = ({ msg }: { msg: string }): boolean => msg.includes("listen.maxConnections");
  expect(await crowded.logged(isIt)).toMatchObject({ level: "warn", places: 1, refusedSoFar: 1 });
  expect(crowded.log.filter(isIt)).toHaveLength(1);
  await stream.body?.cancel();
});

test("FIELD T46: a restarted gateway does not know earlier sessions, and their open streams did not delay its stop", async () => {
  await using first = await start(config);
  const own = await first.place.key("alice");
  const session = await first.session(own);
  const stream = await first.stream(own, session);
  const pair = await fetch(`${first.url}/sse`, {
    headers: { authorization: `Bearer ${own}`, accept: "text/event-stream" },
  });
  expect(await first.stop()).toBe(0);
  await Promise.all([stream.text(), pair.text()].map((text) => text.catch(() => "")));
  await using second = await first.place.start();
  const stale = await second.post(toolCall("one__echo", {}, "late"), { key: own, headers: session });
  expect(stale).toMatchObject({ status: 404, json: { id: "late", error: { code: -32001 } } });
  const again = await second.session(own);
  expect((await second.post(toolCall("one__echo"), { key: own, headers: again })).status).toBe(200);
});
