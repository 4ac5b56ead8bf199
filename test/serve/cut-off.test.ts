import { describe, expect, test } from "bun:test";
import { onAbort } from "../../src/core/cancel.ts";
import type { Reply } from "../../src/core/call.ts";
import { Failure } from "../../src/core/failure.ts";
import type { Session } from "../../src/session/session.ts";
import { Sessions } from "../../src/session/sessions.ts";
import { Door, hang, said } from "../support/front-door.ts";
import { heldPair, heldSocket } from "../support/held.ts";
import { until } from "../support/until.ts";
import { initialize, modern, pick, request, textOf, toolCall, v2025 } from "../support/wire.ts";

// Calls that end before their server has answered, though their caller did not cancel them: each is told why.

const stopping = "The gateway is stopping. The call may have run: check before you repeat it.";

test("SEMANTICS 2, T46: a gateway that stops tells each call that it cuts off why, and that the call may have run", async () => {
  await using door = new Door(hang);
  const session = await door.session();
  const events = { ...(await door.session()), accept: "text/event-stream, application/json" };
  const { body, headers } = modern("tools/call", { name: "echo" });
  const answers = [
    door.post(body, { headers }),
    door.post(toolCall("echo"), { headers: v2025 }),
    door.post(toolCall("echo"), { headers: { ...v2025, accept: "application/json" } }),
    door.post(toolCall("echo"), { headers: session }),
    door.post(toolCall("echo"), { headers: events }),
  ];
  const reading = door.post(request("resources/read", { uri: "file:///a" }), { headers: v2025 });
  await until(() => door.running.size === answers.length + 1, "all calls run");
  await door.running.end(0, 1_000);
  for (const { status, json } of await Promise.all(answers)) {
    expect([status, pick(json, "id"), pick(json, "result.isError"), textOf(json)]).toEqual([200, 1, true, stopping]);
  }
  expect((await reading).json).toMatchObject({ error: { code: -32603, message: stopping } });
  const ends = door.ended.filter(({ inbound: { method } }) => method !== "initialize");
  expect(new Set(ends.map(({ status }) => status))).toEqual(new Set(["lost"]));
});

test("SEMANTICS 2: a call that was not sent to a server is told that it did not run", async () => {
  await using door = new Door(hang);
  const settled = Promise.withResolvers<void>();
  const catalog = { ...door.gw.catalog, offers: () => false };
  const add = door.running.add.bind(door.running);
  door.running.add = (standing) => {
    const controller = add(standing);
    onAbort(controller.signal, settled.resolve);
    return controller;
  };
  Object.assign(door.gw, { catalog, settled: settled.promise });
  const answer = door.post(toolCall("echo"), { headers: v2025 });
  await until(() => door.running.size === 1, "the call waits for its server");
  await door.running.end(0, 1_000);
  expect(textOf((await answer).json)).toBe("The gateway is stopping. The call did not run.");
});

test("SEMANTICS 2: a session replaced by a newer one tells its calls why; one that its client ends does not", async () => {
  await using door = new Door(hang, { sessionLimits: { total: 10, perOwner: 1, idle: 60_000 } });
  const call = async (headers: Record<string, string>) => {
    const before = door.running.size;
    const answer = door.post(toolCall("echo"), { headers });
    await until(() => door.running.size > before, "the call runs");
    return answer;
  };
  const first = call(await door.session());
  await until(() => door.running.size === 1, "the call runs");
  const newer = await door.session();
  expect(textOf((await first).json)).toBe(
    "The session was replaced by a newer one of the same key. The call may have run: check before you repeat it.",
  );
  const second = call(newer);
  await until(() => door.running.size === 1, "the call runs");
  await door.request("DELETE", { headers: newer });
  expect((await second).text).toBe("");
});

test("a subscription that the gateway ends gets its result, and on a client's own connection also a cancellation", async () => {
  await using door = new Door(hang);
  const { body, headers } = modern("subscriptions/listen", { notifications: { toolsListChanged: true } }, { id: "L" });
  const sent: unknown[] = [];
  const connection = door.connection((message) => void sent.push(message));
  const listening = [connection.receive(JSON.stringify(body)), door.send(body, { headers })] as const;
  await until(() => door.gw.listeners.size === 2 && sent.length === 1, "both listen");
  door.gw.listeners.endAll();
  await listening[0];
  expect(sent.slice(1)).toMatchObject([
    { id: "L", result: { resultType: "complete", _meta: { "io.modelcontextprotocol/subscriptionId": "L" } } },
    { method: "notifications/cancelled", params: { requestId: "L", reason: expect.stringContaining("stopping") } },
  ]);
  const stream = await (await listening[1]).text();
  expect(stream).toContain('"resultType":"complete"');
  expect(stream).not.toContain("cancelled");
  const left = connection.receive(JSON.stringify(body));
  await until(() => sent.length === 4, "it listens again");
  await connection.receive(
    JSON.stringify({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "L" } }),
  );
  await left;
  expect(sent).toHaveLength(4);
});

test("S25: a session that was ended for a newer one while its opening was recorded is not given to the client", async () => {
  await using door = new Door(hang, { sessionLimits: { total: 10, perOwner: 1, idle: 60_000 } });
  const { audit } = door.gw;
  const [begun, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const recordEvent: typeof audit.recordEvent = async (event) => {
    await audit.recordEvent(event);
    begun.resolve();
    await held.promise;
  };
  Object.assign(door.gw, { audit: { ...audit, recordEvent } });
  const first = door.post(initialize());
  await begun.promise;
  Object.assign(door.gw, { audit });
  const newer = await door.session();
  held.resolve();
  const { status, headers, json } = await first;
  expect([status, headers.get("mcp-session-id"), pick(json, "error.data.retryable")]).toEqual([503, null, true]);
  expect((await door.post(request("ping"), { headers: newer })).status).toBe(200);
});

test("FIELD T46: a message whose session ends before the whole message has arrived is refused with 404", async () => {
  await using door = new Door(() => said("ran"));
  const { sessions } = door;
  const session = await door.session();
  const found = Promise.withResolvers<Session | null>();
  sessions.find = (...of) => {
    const one = Sessions.prototype.find.apply(sessions, of);
    found.resolve(one);
    return one;
  };
  const text = JSON.stringify(toolCall("echo"));
  async function* body() {
    yield text.slice(0, 1);
    const one = await found.promise;
    if (one) sessions.end(one, "deleted");
    yield text.slice(1);
  }
  const headers = { "content-type": "application/json", authorization: "Bearer alice", ...session };
  const accept = "application/json, text/event-stream";
  const { status } = await fetch(`${door.url}/mcp`, { method: "POST", headers: { ...headers, accept }, body: body() });
  expect([status, door.ended.at(-1)?.failure?.code]).toEqual([404, "session-not-found"]);
});

test("SEMANTICS 2: a call whose caller could be asked in rounds is told too", async () => {
  await using door = new Door(hang);
  const declared = { "io.modelcontextprotocol/clientCapabilities": { elicitation: {} } };
  const { body, headers } = modern("tools/call", { name: "echo" }, { meta: declared });
  const answer = door.post(body, { headers });
  await until(() => door.running.size === 1, "the call runs");
  await door.running.end(0, 1_000);
  expect(textOf((await answer).json)).toBe(stopping);
});

test("SEMANTICS 2: a client on its own connection is told too", async () => {
  await using door = new Door(hang);
  const sent: unknown[] = [];
  const connection = door.connection((message) => void sent.push(message));
  await connection.receive(JSON.stringify(initialize()));
  const call = connection.receive(JSON.stringify(toolCall("echo", {}, "hung")));
  await until(() => door.running.size === 1, "the call runs");
  await door.running.end(0, 1_000);
  // The next step of a shutdown may close the connection at once.
  expect(textOf(sent.at(-1))).toBe(stopping);
  await call;
  connection.close();
});

describe.each([
  ["HTTP+SSE", heldPair],
  ["WebSocket", heldSocket],
] as const)("when a key is revoked, its connection ends: %s", (_name, connect) => {
  test("T42: the running call is answered first", async () => {
    await using door = new Door(hang);
    const client = await connect(door);
    client.send(toolCall("echo", {}, "hung"));
    await until(() => door.running.size === 1, "the call runs");
    door.who("alice").revoke();
    await client.ended;
    const message = "The key was revoked while the call ran. The call may have run: check before you repeat it.";
    expect(client.got).toEqual([{ jsonrpc: "2.0", id: "hung", error: { code: -31401, message } }]);
  });

  test("T42: a call that does not end delays the close by less than a second", async () => {
    const never = Promise.withResolvers<Reply>();
    await using door = new Door(() => never.promise);
    const client = await connect(door);
    client.send(toolCall("echo", {}, "hung"));
    await until(() => door.running.size === 1, "the call runs");
    const from = performance.now();
    door.who("alice").revoke();
    await client.ended;
    expect(performance.now() - from).toBeLessThan(1_000);
    never.reject(new Failure("cancelled", "Cancelled."));
  });
});

test("FIELD T48: a session is idle from the moment its stream closes, however long it was open", async () => {
  await using door = new Door(() => said("done"));
  const headers = await door.session();
  const session = door.sessions.find(headers["mcp-session-id"] ?? "", door.who("alice").id, null);
  if (!session) throw new Error("no session");
  const cut = new AbortController();
  await door.request("GET", { headers, signal: cut.signal });
  session.seen = -1e15;
  cut.abort();
  await until(() => session.streams.listener === null, "the stream is closed");
  door.sessions.sweep();
  expect((await door.post(toolCall("echo"), { headers })).status).toBe(200);
});

test.each([
  ["a call", "2025-11-25", toolCall("echo")],
  ["a batch", "2025-03-26", [toolCall("echo")]],
])(
  "FIELD T48: a session is idle from the end of its last call, however long the call ran: %s",
  async (_, revision, body) => {
    const answer = Promise.withResolvers<Reply>();
    await using door = new Door(() => answer.promise);
    const headers = await door.session(revision);
    const session = door.sessions.find(headers["mcp-session-id"] ?? "", door.who("alice").id, null);
    if (!session) throw new Error("no session");
    const called = door.post(body, { headers });
    await until(() => session.busy, "the call runs");
    session.seen = -1e15;
    answer.resolve(said("done"));
    await called;
    door.sessions.sweep();
    expect((await door.post(request("ping"), { headers })).status).toBe(200);
  },
);

test("if the ends of sessions cannot be recorded, the log lines have one kind and name the record", async () => {
  await using door = new Door(hang);
  const headers = await door.session();
  const told: unknown[] = [];
  const recordEvent = () => Promise.reject(new Failure("audit-unavailable", "No log."));
  const log = { ...door.gw.log, warn: (...line: unknown[]) => void told.push(line) };
  Object.assign(door.gw, { audit: { ...door.gw.audit, recordEvent }, log });
  await door.request("DELETE", { headers });
  await until(() => told.length === 1, "the line");
  const facts = { type: "session.close", cause: expect.stringContaining("No log.") };
  expect(told).toEqual([["event not recorded", facts, "session.close"]]);
});
