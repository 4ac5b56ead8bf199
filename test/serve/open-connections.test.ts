import { describe, expect, test } from "bun:test";
import type { Reply } from "../../src/core/call.ts";
import { ConnectionSlots } from "../../src/serve/connection-slots.ts";
import { Running } from "../../src/serve/running.ts";
import { Door, hang, said } from "../support/front-door.ts";
import { dial, frameOf, upgradeText } from "../support/raw-http.ts";
import { heldPair, heldSocket } from "../support/held.ts";
import { PerTurnCounter, use } from "../support/turns.ts";
import { until } from "../support/until.ts";
import { initialize, openSocket, pick, request, toolCall } from "../support/wire.ts";

// Clients with long-lived connections: their limits and their rights.

/** Returns the URL for POSTs of an HTTP+SSE stream, and a function that disconnects the stream. */
async function addressOf(door: Door, path = "/sse", key = "alice"): Promise<{ address: string; cut: () => void }> {
  const abort = new AbortController();
  const response = await door.request("GET", { path, key, signal: abort.signal });
  const reader = response.body!.getReader();
  let text = "";
  while (!/data: .*\n\n/.test(text)) text += new TextDecoder().decode((await reader.read()).value);
  return { address: /^event: endpoint\ndata: (.*)$/m.exec(text)?.[1] ?? "", cut: () => abort.abort() };
}

describe("the HTTP+SSE transport of 2024-11-05", () => {
  const play = () => new Door((call) => said(String(call.scope)), { scopes: ["git", "docs"], body: 1000 });

  test("R65: the stream names a URL with 256 random bits, on its own endpoint", async () => {
    await using door = play();
    for (const [path, base] of [
      ["/sse", "/messages"],
      ["/git/sse", "/git/messages"],
    ] as const) {
      const { address } = await addressOf(door, path);
      const [where, id = ""] = address.split("?sessionId=");
      expect(where).toBe(base);
      expect(Buffer.from(id, "base64url")).toHaveLength(32);
    }
  });

  test("S08: the URL works only for its own principal on its own endpoint, until the stream ends", async () => {
    await using door = play();
    const { address, cut } = await addressOf(door, "/git/sse");
    const post = async (path: string, key = "alice") => (await door.post(request("ping"), { path, key })).status;
    expect(await post(address)).toBe(202);
    expect(await post(address, "mallory")).toBe(404);
    expect(await post(address, "")).toBe(401);
    expect(await post(address.replace("/git/", "/docs/"))).toBe(404);
    expect(await post(address.replace("/git/", "/"))).toBe(404);
    expect(await post("/messages?sessionId=")).toBe(404);
    expect(await post("/messages")).toBe(404);
    cut();
    await until(() => door.traffic.streams === 0, "the gateway to notice");
    const late = await door.post(initialize("2024-11-05"), { path: address });
    expect([late.status, pick(late.json, "error.message")]).toEqual([
      404,
      "This session is unknown or has ended; open its event stream again.",
    ]);
  });

  test("R65: a call is made within the scope of the endpoint", async () => {
    await using door = play();
    const { address } = await addressOf(door, "/docs/sse");
    await door.post(initialize("2024-11-05"), { path: address });
    await door.post(toolCall("echo"), { path: address });
    await until(() => door.ended.length === 2, "both calls to end");
    expect(door.ended.map(({ scope }) => scope)).toEqual(["docs", "docs"]);
  });

  test("a body that is too large or not JSON is refused at once and recorded", async () => {
    await using door = play();
    const { address } = await addressOf(door);
    expect((await door.post(toolCall("x".repeat(2000)), { path: address })).status).toBe(413);
    expect((await door.post("{}", { path: address, headers: { "content-type": "text/plain" } })).status).toBe(415);
    expect(door.ended.map(({ failure }) => failure?.code)).toEqual(["body-too-large", "unsupported-media"]);
  });

  test("FIELD T10: a message is accepted with 202; its answer or error comes on the stream", async () => {
    await using door = play();
    const response = await door.request("GET", { path: "/sse" });
    const reader = response.body!.getReader();
    let text = "";
    const more = async (until: string) => {
      while (!text.includes(until)) text += new TextDecoder().decode((await reader.read()).value);
    };
    await more("sessionId=");
    const path = /data: (.*)/.exec(text)?.[1] ?? "";
    expect((await door.post("{not json", { path })).status).toBe(202);
    await more('"code":-32700');
    expect((await door.post([request("ping", {}, "b")], { path })).status).toBe(202);
    await more('"code":-32600');
    expect((await door.post(initialize("2024-11-05", "i"), { path })).status).toBe(202);
    await more('"id":"i"');
    await door.post([request("ping", {}, "b")], { path });
    await more('[{"jsonrpc":"2.0","id":"b","result":{}}]');
    expect(text).toContain("event: message\n");
  });

  test("a GET whose Accept does not allow event streams is refused", async () => {
    await using door = play();
    expect((await door.request("GET", { path: "/sse", headers: { accept: "application/json" } })).status).toBe(400);
    for (const accept of ["text/event-stream; q=0.0, */*", "Text/*;Q=0", "application/json, */*;q=0"]) {
      expect((await door.request("GET", { path: "/sse", headers: { accept } })).status).toBe(400);
    }
    expect((await door.request("GET", { path: "/sse/" })).status).toBe(200);
    for (const accept of ["Text/Event-Stream", "text/*", "text/event-stream;q=0.01"]) {
      expect((await door.request("GET", { path: "/sse", headers: { accept } })).status).toBe(200);
      expect((await door.post(request("ping"), { headers: { accept } })).status).toBe(200);
    }
    expect((await door.request("POST", { path: "/sse" })).status).toBe(405);
  });
});

function socket(door: Door, path: string, { key = "alice", protocol = "mcp" as string | null } = {}) {
  const ws = openSocket(door.url, path, key, protocol === null ? [] : [protocol]);
  const got: unknown[] = [];
  const opened = Promise.withResolvers<boolean>();
  const closed = Promise.withResolvers<number>();
  ws.onmessage = ({ data }) => void got.push(JSON.parse(String(data)));
  ws.onopen = () => opened.resolve(true);
  ws.onclose = ({ code }) => {
    opened.resolve(false);
    closed.resolve(code);
  };
  return { ws, got, opened: opened.promise, closed: closed.promise };
}

/** Returns a WebSocket for which the test writes the frames itself. */
function rawSocket(door: Door) {
  const ws = dial(door);
  ws.write(upgradeText);
  return { ws, opened: new Promise((resolve) => ws.once("data", resolve)) };
}

/** Returns a short call message. */
const bareCall = (id: number): string => `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"echo"}}`;

describe("R98: WebSockets", () => {
  const play = (behave = (text: string) => text) =>
    new Door((call) => said(behave(String(call.scope))), { scopes: ["git"], body: 1000 });

  test("the subprotocol is mcp; other subprotocols, missing keys, foreign pages and unknown scopes are refused", async () => {
    await using door = play();
    const good = socket(door, "/ws");
    expect([await good.opened, good.ws.protocol]).toEqual([true, "mcp"]);
    expect(await socket(door, "/ws", { protocol: null }).opened).toBe(true);
    expect(await socket(door, "/ws", { key: "" }).opened).toBe(false);
    expect(await socket(door, "/ws/svn").opened).toBe(false);
    const upgrade = {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg==",
    };
    const foreign = await door.request("GET", { path: "/ws", headers: { ...upgrade, origin: "https://evil.test" } });
    expect(foreign.status).toBe(403);
    const other = { ...upgrade, "sec-websocket-protocol": "graphql-ws" };
    expect((await door.request("GET", { path: "/ws", headers: other })).status).toBe(400);
    expect((await door.request("GET", { path: "/ws" })).status).toBe(426);
  });

  test("a call is made within the scope of the socket, and its answer is one frame", async () => {
    await using door = play();
    const { ws, got, opened } = socket(door, "/ws/git");
    await opened;
    ws.send(JSON.stringify(initialize("2025-11-25", "i")));
    await until(() => got.length === 1, "the handshake");
    ws.send(JSON.stringify(toolCall("echo", {}, "c")));
    expect(pick(await until(() => got[1], "the answer"), "result.content.0.text")).toBe("git");
    ws.close();
    await until(() => door.endedSessions.length === 1, "its session to end");
  });

  test("T22: a message over limits.body is refused under its id; a frame far over it closes the socket", async () => {
    await using door = play();
    const { ws, got, opened, closed } = socket(door, "/ws");
    await opened;
    ws.send(JSON.stringify(toolCall("x".repeat(2000), {}, "large")));
    expect(await until(() => got[0], "the refusal")).toMatchObject({ id: "large", error: { code: -32600 } });
    ws.send("x".repeat(200_000));
    expect([1006, 1009]).toContain(await closed);
  });

  test("T22: a frame far over limits.body is recorded, and so is its effect on the running calls of its socket", async () => {
    const called = Promise.withResolvers<void>();
    await using door = new Door(
      (call) => {
        called.resolve();
        return hang(call);
      },
      { body: 1000 },
    );
    const { ws, opened } = socket(door, "/ws");
    await opened;
    ws.send(JSON.stringify(toolCall("echo", {}, "runs")));
    await called.promise;
    ws.send("x".repeat(200_000));
    await until(() => door.ended.length === 2, "both to be recorded");
    const endings = door.ended.map(({ status, who, failure }) => ({ status, who: who?.id, said: failure?.message }));
    expect(endings).toContainEqual({
      status: "invalid",
      who: "key:alice",
      said: "The message is longer than the 1000 bytes that limits.body allows.",
    });
    expect(endings).toContainEqual({
      status: "lost",
      who: "key:alice",
      said: expect.stringContaining("much longer than limits.body allows. The call may have run"),
    });
    expect(door.traffic.streams).toBe(0);
  });

  test.each([
    ["that closes its socket with the reason of a too long frame", (ws) => ws.close(3001, "Received too big message")],
    ["whose connection breaks", (ws) => ws.terminate()],
  ] as [string, (ws: WebSocket) => void][])("T22: a client %s counts as disconnected", async (_who, leave) => {
    const called = Promise.withResolvers<void>();
    await using door = new Door((call) => {
      called.resolve();
      return hang(call);
    });
    const { ws, opened } = socket(door, "/ws");
    await opened;
    ws.send(JSON.stringify(toolCall("echo", {}, "runs")));
    await called.promise;
    leave(ws);
    await until(() => door.ended.length > 0, "the call to end");
    expect(door.ended.map(({ status }) => status)).toEqual(["cancelled"]);
  });

  test("R60: a new limits.body after a reload applies to open sockets and new ones", async () => {
    await using door = play();
    const { ws, got, opened } = socket(door, "/ws");
    await opened;
    door.limit(300_000);
    const later = socket(door, "/ws");
    await later.opened;
    for (const [n, one] of [{ ws, got }, later].entries()) {
      one.ws.send(JSON.stringify(toolCall("echo", { x: "y".repeat(200_000) }, n)));
      expect(await until(() => one.got[0], "the answer")).toMatchObject({ id: n, result: {} });
    }
    door.limit(1000);
    ws.send(JSON.stringify(toolCall("echo", { x: "y".repeat(2_000) }, "large")));
    expect(await until(() => got[1], "the refusal")).toMatchObject({ id: "large", error: { code: -32600 } });
  });

  test("a message may also be a binary frame, in UTF-8", async () => {
    await using door = play();
    const { ws, got, opened } = socket(door, "/ws/git");
    await opened;
    ws.send(Buffer.from(JSON.stringify(toolCall("echo", { x: "é" }, "c"))));
    expect(pick(await until(() => got[0], "the answer"), "result.content.0.text")).toBe("git");
    ws.send(Buffer.from(JSON.stringify(toolCall("echo", { x: "é" }, "d")), "latin1"));
    expect(await until(() => got[1], "the refusal")).toMatchObject({ id: "d", error: { code: -32700 } });
    expect(door.ended.map(({ status }) => status)).toEqual(["ok", "invalid"]);
  });

  test("T20: an invalid frame is recorded, and so is its effect on the running calls of its socket", async () => {
    const called = Promise.withResolvers<void>();
    await using door = new Door((call) => {
      called.resolve();
      return hang(call);
    });
    const { ws, opened } = rawSocket(door);
    await opened;
    ws.write(frameOf(Buffer.from(JSON.stringify(toolCall("echo", {}, "runs")))));
    await called.promise;
    ws.write(frameOf(Buffer.from([0xff])));
    await until(() => door.ended.length === 2, "both to be recorded");
    const why = "The connection was closed because of an invalid WebSocket frame: Received invalid UTF-8.";
    const ends = door.ended.map(({ status, who, failure }) => [status, who?.id, failure?.code, failure?.said]);
    expect(ends).toContainEqual(["invalid", "key:alice", "invalid-request", why]);
    expect(ends).toContainEqual(["lost", "key:alice", "lost", why]);
    expect(door.traffic.streams).toBe(0);
  });

  test("T42: a client whose key was revoked gets none of its unread bytes", async () => {
    const size = 8_000_000;
    await using door = new Door(() => said("x".repeat(size)));
    const { ws, opened } = rawSocket(door);
    await opened;
    ws.pause();
    ws.write(frameOf(Buffer.from(JSON.stringify(toolCall("echo", {}, "large")))));
    await until(() => door.ended.length === 1, "the answer to be sent");
    door.who("alice").revoke();
    await until(() => door.traffic.streams === 0, "the socket to be cut off");
    let read = 0;
    ws.on("data", (chunk) => void (read += chunk.length)).on("error", () => {});
    ws.resume();
    await new Promise((resolve) => ws.once("close", resolve));
    expect(read).toBeLessThan(size);
  });

  test("a client that floods its socket leaves other clients their turn, and its messages stay in order", async () => {
    using turns = new PerTurnCounter();
    const work = (): Reply => {
      turns.count();
      use(1);
      return said("ok");
    };
    await using door = new Door(work);
    const { ws, opened } = rawSocket(door);
    await opened;
    const ids = Array.from({ length: 200 }, (_, at) => at);
    ws.write(Buffer.concat(ids.map((id) => frameOf(Buffer.from(bareCall(id))))));
    await until(() => door.ended.length === ids.length, "all calls");
    expect(door.ended.map(({ inbound }) => Number(inbound.idText))).toEqual(ids);
    expect(turns.most).toBeLessThanOrEqual(4);
    ws.destroy();
    await until(() => door.traffic.streams === 0, "the gateway to notice");
  });

  test("messages that a client sent before it disconnected are handled before its calls end", async () => {
    await using door = new Door((call) => {
      use(1);
      return hang(call);
    });
    const { ws, opened } = rawSocket(door);
    await opened;
    const ids = Array.from({ length: 20 }, (_, at) => at);
    ws.end(
      Buffer.concat([...ids.map((id) => frameOf(Buffer.from(bareCall(id)))), Buffer.from([0x88, 0x80, 0, 0, 0, 0])]),
    );
    await until(() => door.ended.length === ids.length, "all calls to end");
    expect(new Set(door.ended.map(({ failure }) => failure?.code))).toEqual(new Set(["cancelled"]));
    expect([door.running.size, door.traffic.streams]).toEqual([0, 0]);
  });

  test("when the gateway stops, every socket is closed", async () => {
    const door = play();
    const { opened, closed } = socket(door, "/ws");
    await opened;
    await door[Symbol.asyncDispose]();
    expect([1001, 1006]).toContain(await closed);
    expect(door.traffic.streams).toBe(0);
  });
});

test.each([
  ["HTTP+SSE", heldPair],
  ["WebSocket", heldSocket],
] as const)("large answers that are ready at the same moment all arrive: %s", async (_name, connect) => {
  const together = Promise.withResolvers<void>();
  let waiting = 0;
  await using door = new Door(async () => {
    if (++waiting === 8) together.resolve();
    await together.promise;
    return said("x".repeat(4_000_000));
  });
  const client = await connect(door);
  const ids = Array.from({ length: 8 }, (_, id) => id);
  for (const id of ids) client.send(toolCall("echo", {}, id));
  await until(() => client.got.length === 8, "all answers");
  expect(client.got.map((answer) => Number(pick(answer, "id"))).toSorted((a, b) => a - b)).toEqual(ids);
});

test("T27: connection slots are limited per principal, and can be freed", () => {
  const places = new ConnectionSlots();
  const mine = Array.from({ length: 1_000 }, () => places.take("key:a"));
  expect(() => places.take("key:a")).toThrow("already have 1000 open connections");
  expect(() => places.take("key:b")).not.toThrow();
  mine[0]?.();
  expect(() => places.take("key:a")).not.toThrow();
});

describe("running calls", () => {
  test("a standing call delays nothing, and is ended first when the gateway stops", async () => {
    const running = new Running();
    running.delete(running.add(true));
    const standing = running.add(true);
    await running.idle(60_000);
    const call = running.add();
    standing.signal.addEventListener("abort", () => running.delete(standing));
    const ended = running.end(60_000, 60_000);
    expect([standing.signal.aborted, call.signal.aborted]).toEqual([true, false]);
    running.delete(call);
    await ended;
    expect(running.size).toBe(0);
  });

  test("a call that does not end in time is cancelled", async () => {
    const running = new Running();
    const call = running.add();
    call.signal.addEventListener("abort", () => running.delete(call));
    await running.end(1, 60_000);
    expect(call.signal.aborted).toBe(true);
  });
});
