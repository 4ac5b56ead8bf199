import { expect, test } from "bun:test";
import { getEventListeners, once } from "node:events";
import type { Socket } from "node:net";
import type { Call } from "../../src/core/call.ts";
import { shedIdleConnections } from "../../src/serve/idle-connections.ts";
import { Door, hang, said } from "../support/front-door.ts";
import { dial, frameOf, upgradeText } from "../support/raw-http.ts";
import { until } from "../support/until.ts";
import { initialize, modern, openSocket, toolCall } from "../support/wire.ts";

// The limit listen.maxConnections, and how far unauthenticated clients with open connections can keep others out.

const play = (maxConnections: number) => new Door(() => said("done"), { maxConnections });

/** Opens `count` connections that send only `text`; they end with the test. */
async function hold(door: Door, count: number, text = ""): Promise<Socket[] & Disposable> {
  const sockets = Array.from({ length: count }, () => dial(door));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  for (const socket of sockets) socket.write(text);
  return Object.assign(sockets, { [Symbol.dispose]: () => sockets.forEach((socket) => socket.destroy()) });
}

const frame = frameOf(Buffer.from(JSON.stringify(modern("tools/call", { name: "echo" }).body)));

const head = (line: string) => `${line} HTTP/1.1\r\nHost: 127.0.0.1\r\n`;

const status = (door: Door, path: string) =>
  fetch(door.url + path, { headers: { connection: "close" } }).then((answer) => answer.status);

test("T26: listen.maxConnections limits open streams, one that ends makes room, and /live always answers", async () => {
  await using door = play(3);
  const cuts = Array.from({ length: 3 }, () => new AbortController());
  // A response without a reference is garbage-collected, which closes its stream.
  const open: Response[] = [];
  for (const { signal } of cuts) open.push(await door.request("GET", { path: "/sse", signal }));
  expect(open.map(({ status }) => status)).toEqual([200, 200, 200]);
  const refused = await door.request("GET", { path: "/sse" });
  expect([refused.status, refused.headers.get("connection")]).toEqual([503, "close"]);
  expect(await refused.text()).toContain("All 3 connections");
  expect((await door.post(toolCall("echo"))).status).toBe(503);
  expect([await status(door, "/ready"), await status(door, "/live")]).toEqual([503, 200]);
  expect(await status(door, "/metrics")).toBe(200);
  const proxied = await door.request("GET", { path: "/metrics", headers: { "x-forwarded-for": "192.0.2.1" } });
  expect(proxied.status).toBe(503);
  cuts[0]?.abort();
  await until(async () => (await door.post(toolCall("echo"))).status === 200, "room for a call");
  expect([door.traffic.streams, open.length]).toEqual([2, 3]);
});

test("T26: descriptors of children and upstreams do not count as connections", async () => {
  let looks = 0;
  let shed = 0;
  // More than this process could have open itself.
  const others = () => (looks++, 1_000_000);
  const shedding = shedIdleConnections(1, others, () => void shed++);
  await until(() => looks > 1, "two looks");
  shedding.close();
  expect(shed).toBe(0);
});

test("T26: a call counts as a connection until it has ended, even if its client has disconnected", async () => {
  const ending = Promise.withResolvers<void>();
  await using door = new Door(() => ending.promise.then(() => said("done")), { maxConnections: 2 });
  const cuts = Array.from({ length: 2 }, () => new AbortController());
  for (const { signal } of cuts) door.send(toolCall("echo"), { signal }).catch(() => {});
  await until(() => door.running.size === 2, "both calls to run");
  for (const cut of cuts) cut.abort();
  expect(await status(door, "/live")).toBe(200);
  expect((await door.post(toolCall("echo"))).status).toBe(503);
  ending.resolve();
  await until(async () => (await door.post(toolCall("echo"))).status === 200, "room for a call");
});

test("T26: an open WebSocket counts as a connection", async () => {
  await using door = play(1);
  const ws = openSocket(door.url, "/ws", "alice");
  await once(ws, "open");
  expect((await door.post(toolCall("echo"))).status).toBe(503);
  ws.close();
  await until(async () => (await door.post(toolCall("echo"))).status === 200, "room for a call");
});

test("T26: silent connections keep no one out, and while there are too many, idle ones are closed", async () => {
  await using door = play(10);
  using idle = await hold(door, 1, `${head("GET /live")}\r\n`);
  const ended = once(idle[0]!, "close");
  using _silent = await hold(door, 150);
  idle[0]?.resume();
  await ended;
  expect((await door.post(toolCall("echo"))).status).toBe(200);
  expect([await status(door, "/ready"), await status(door, "/live")]).toEqual([200, 200]);
});

test("T26: unauthenticated clients that send slowly hold a quarter of the connections; others are refused at once", async () => {
  await using door = play(8);
  using slow = await hold(door, 20, `${head("POST /mcp")}Content-Length: 50\r\n\r\n{`);
  const refused = new Set<Socket>();
  for (const socket of slow) socket.on("data", (bytes) => void (/ 401 /.test(String(bytes)) && refused.add(socket)));
  await until(() => refused.size === 18, "all but two to be refused");
  expect((await door.post(toolCall("echo"))).status).toBe(200);
});

test("T26: one caller's slow bodies hold a quarter of the connections; more are refused, and others are served", async () => {
  await using door = new Door(() => said("ran"));
  const body = "Authorization: Bearer alice\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
  using slow = await hold(door, 1_100, head("POST /mcp") + body);
  const refused = new Set<Socket>();
  for (const socket of slow) socket.on("data", (bytes) => void (/ 503 /.test(String(bytes)) && refused.add(socket)));
  await until(() => refused.size >= 1_100 - 1_024, "those beyond a quarter to be refused");
  expect(refused.size).toBeLessThan(100);
  expect((await door.post(toolCall("echo"), { key: "bob" })).status).toBe(200);
});

test("T26: one caller's open connections of all kinds are counted together, and their slots are freed", async () => {
  await using door = new Door(() => said("ran"));
  const [mine, theirs] = [await door.session(), await door.session("2025-11-25", { key: "bob" })];
  const listen = async (headers: Record<string, string>, key: string): Promise<number> => {
    const cut = new AbortController();
    const { status } = await door.request("GET", { headers, key, signal: cut.signal });
    cut.abort();
    return status;
  };
  const wanted = "Authorization: Bearer alice\r\nAccept: text/event-stream\r\n\r\n";
  using held = await hold(door, 1_000, head("GET /sse") + wanted);
  await until(() => door.traffic.streams === 1_000, "all streams");
  expect([await listen(mine, "alice"), await listen(theirs, "bob")]).toEqual([503, 200]);
  held[0]?.destroy();
  await until(() => door.traffic.streams === 999, "one to end");
  for (let round = 0; round < 2; round++) {
    expect(await listen(mine, "alice")).toBe(200);
    await until(() => door.traffic.streams === 999, "it to end");
  }
});

test("T26: a refused unauthenticated request frees its slot", async () => {
  await using door = play(8);
  for (let round = 0; round < 5; round++) {
    const { status: code, json } = await door.post(toolCall("echo", {}, round), { key: "" });
    expect([code, json]).toMatchObject([401, { id: round }]);
  }
});

test("T26: a connection that has ended, or was never established, frees its caller's slot", async () => {
  await using door = new Door(() => said("done"));
  // One caller may have 1,000 open at once.
  for (let round = 0; round < 1_001; round++) {
    expect((await door.request("GET", { path: "/ws" })).status).toBe(426);
    const cut = new AbortController();
    expect((await door.request("GET", { path: "/sse", signal: cut.signal })).status).toBe(200);
    cut.abort();
    const ws = openSocket(door.url, "/ws", "alice");
    await once(ws, "open");
    ws.close();
  }
  // The listener for the end of the caller's rights must not keep connections in memory either.
  const waiting = () => getEventListeners(door.who("alice").revoked, "abort").length;
  await until(() => waiting() < 10, "all to be let go");
}, 30_000);

test("however many sessions a caller has on its own connections, few listeners wait for its revocation, as each slows adding more", async () => {
  await using door = new Door(() => said(""));
  const all = Array.from({ length: 10 }, () => door.connection(() => {}));
  await Promise.all(all.map((connection) => connection.receive(JSON.stringify(initialize("2025-11-25")))));
  expect(door.traffic.sessions).toBe(10);
  expect(getEventListeners(door.who("alice").revoked, "abort").length).toBeLessThan(10);
  for (const connection of all) connection.close();
});

test("T26: a WebSocket whose client reads nothing is closed once too much is unread, and its running calls are told", async () => {
  let calls = 0;
  await using door = new Door((call) => (calls++ === 0 ? hang(call) : said("x".repeat(4 * 1024 ** 2))));
  Object.assign(door.gw, { caps: { ...door.gw.caps, result: 1 } });
  using clients = await hold(door, 1, upgradeText);
  await until(() => door.traffic.streams === 1, "it is open");
  for (let call = 0; call < 9; call++) clients[0]?.write(frame);
  await until(() => door.traffic.streams === 0, "it is closed");
  expect(door.ended.length).toBeGreaterThan(2);
  const told = ({ status, failure }: Call): boolean =>
    status === "lost" && failure?.message.includes("left too much unread") === true;
  await until(() => door.ended.some(told), "the running call to end");
  // The unread bytes are discarded: if they were kept uncounted, they could fill all memory.
  let read = 0;
  clients[0]?.on("data", (bytes) => (read += bytes.length));
  await until(() => clients[0]?.closed === true, "the connection to end");
  expect(read).toBeLessThan(9 * 1024 ** 2);
});

test("T26: WebSockets of one caller that read nothing are dropped when they hold too much together", async () => {
  await using door = new Door(() => said("x".repeat(4 * 1024 ** 2)));
  Object.assign(door.gw, { caps: { ...door.gw.caps, result: 1 } });
  using clients = await hold(door, 24, upgradeText);
  await until(() => door.traffic.streams === 24, "they are open");
  // Each one alone may hold two answers.
  for (const client of clients) for (let call = 0; call < 2; call++) client.write(frame);
  await until(() => door.traffic.streams < 24, "one to be dropped");
  const theirs = openSocket(door.url, "/ws", "bob");
  await once(theirs, "open");
  expect(door.traffic.streams).toBeGreaterThan(1);
  theirs.close();
}, 30_000);
