import { describe, expect, test } from "bun:test";
import type { Call } from "../../src/core/call.ts";
import { systemClock } from "../../src/core/clock.ts";
import { askedOn, Door, said } from "../support/front-door.ts";
import { use } from "../support/turns.ts";
import { until } from "../support/until.ts";
import { type Answer, initialize, modern, pick, request, toolCall } from "../support/wire.ts";

// JSON-RPC batches, which revisions up to 2025-03-26 have. Each message becomes its own call.

const v2025 = { "mcp-protocol-version": "2025-03-26" };
const note = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}';
const notification = { jsonrpc: "2.0", method: "notifications/initialized" };
const response = { jsonrpc: "2.0", id: 9, result: {} };

const echo = () => new Door((call) => said(call.argumentsText));

const ids = (json: unknown): unknown[] => (Array.isArray(json) ? json.map((one) => pick(one, "id")) : []);
const codes = (json: unknown): unknown[] => (Array.isArray(json) ? json.map((one) => pick(one, "error.code")) : []);
const seen = (calls: readonly Call[]): string[] => calls.map(({ inbound }) => inbound.idText ?? inbound.method);

describe("a batch is accepted from", () => {
  test.each([
    ["2024-11-05", true],
    ["2025-03-26", true],
    ["2025-06-18", false],
    ["2025-11-25", false],
  ] as const)("a session of %s: %p", async (revision, may) => {
    await using door = echo();
    const headers = await door.session(revision);
    const answer = await door.post([request("ping", {}, 1), toolCall("echo", { a: 1 }, "2")], { headers });
    if (may) {
      expect(answer.status).toBe(200);
      expect(ids(answer.json)).toEqual([1, "2"]);
      expect(pick(answer.json, "1.result.content.0.text")).toBe('{"a":1}');
    } else expect(answer).toMatchObject({ status: 400, json: { id: null, error: { code: -32600 } } });
  });

  test("a client without a session may send a batch if it names revision 2025-03-26 or none", async () => {
    await using door = echo();
    const body = [request("ping", {}, 1), toolCall("echo", { a: 1 }, 2)];
    for (const headers of [v2025, {}]) {
      const answer = await door.post(body, { headers });
      expect([answer.status, ids(answer.json)]).toEqual([200, [1, 2]]);
      expect(pick(answer.json, "1.result.content.0.text")).toBe('{"a":1}');
      expect((await door.post(body, { headers, key: "" })).status).toBe(401);
    }
    const { headers } = modern("tools/list");
    for (const other of [{ "mcp-protocol-version": "2025-06-18" }, headers]) {
      expect((await door.post(body, { headers: other })).status).toBe(400);
    }
  });

  test("a request of 2026-07-28 inside a batch is refused", async () => {
    await using door = echo();
    const { body } = modern("tools/call", { name: "echo", arguments: {} }, { id: 7 });
    const answer = await door.post([body, request("ping", {}, 1)]);
    expect([ids(answer.json), codes(answer.json)]).toEqual([
      [7, 1],
      [-32020, undefined],
    ]);
  });

  test("a client that names revision 2026-07-28 may not send a batch, even in a session of an older revision", async () => {
    await using door = echo();
    const { body, headers } = modern("tools/call", { name: "echo", arguments: {} }, { id: 7 });
    const answer = await door.post([body], { headers: { ...(await door.session("2025-03-26")), ...headers } });
    expect(answer).toMatchObject({ status: 400, json: { id: null, error: { code: -32600 } } });
  });
});

const shapes: [what: string, body: string, status: number, code: number][] = [
  ["an empty batch", "[]", 400, -32600],
  ["a batch that is not JSON", "[{]", 400, -32700],
  ["a batch followed by more text", '[{"jsonrpc":"2.0","id":1,"method":"ping"}] x', 400, -32700],
  [
    "a batch longer than limits.batch",
    JSON.stringify(Array.from({ length: 6 }, (_, n) => request("ping", {}, n))),
    400,
    -32600,
  ],
  ["a batch with a repeated id", JSON.stringify([request("ping", {}, 1), toolCall("echo", {}, 1)]), 400, -32600],
  [
    "a batch with one id in two spellings",
    '[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1.0,"method":"ping"}]',
    400,
    -32600,
  ],
  ["a batch that is nested too deep", `[${"[".repeat(100)}${"]".repeat(100)}]`, 400, -32600],
  ["a batch with a repeated key in a message", '[{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}]', 400, -32600],
];

test.each(shapes)("S23, T20: %s is refused as a whole, and none of it runs", async (_what, body, status, code) => {
  await using door = echo();
  const answer = await door.post(body, { headers: v2025 });
  expect(answer).toMatchObject({ status, json: { id: null, error: { code } } });
  expect(door.ended.map(({ failure }) => failure?.code)).toHaveLength(1);
});

test("S23: a batch of 99,001 messages is refused once, not once per message", async () => {
  await using door = echo();
  const answer = await door.post(`[${"0,".repeat(99_000)}0]`, { headers: v2025 });
  expect(answer).toMatchObject({ status: 400, json: { id: null, error: { code: -32600 } } });
  expect(door.ended).toHaveLength(1);
});

test("each message is recorded, and an invalid one does not affect the others", async () => {
  await using door = echo();
  const headers = await door.session("2025-03-26");
  door.ended.length = 0;
  const answer = await door.post(
    [
      toolCall("echo", { n: 1 }, "good"),
      5,
      { jsonrpc: "2.0", id: "bad", method: 7 },
      initialize("2025-03-26", "init"),
      notification,
    ],
    { headers },
  );
  expect(new Set(ids(answer.json))).toEqual(new Set(["good", null, "bad", "init"]));
  expect(codes(answer.json).filter((code) => code === -32600)).toHaveLength(3);
  expect(answer.headers.has("mcp-session-id")).toBe(false);
  expect(door.ended).toHaveLength(5);
  expect(door.sessions.size).toBe(1);
});

test("a batch of only notifications and responses gets a 202 without a body", async () => {
  await using door = echo();
  const headers = await door.session("2025-03-26");
  const answer = await door.post([notification, response], { headers });
  expect([answer.status, answer.text]).toEqual([202, ""]);
  expect(door.traffic.stray).toBe(1);
});

test.each(["a POST", "a connection"])("S23: the answers to a batch are limited in total, for %s", async (way) => {
  const mib = 1024 ** 2;
  await using door = new Door(() => said("x".repeat(4 * mib)));
  Object.assign(door.gw, { caps: { ...door.gw.caps, result: 1 } });
  const batch = [toolCall("echo", {}, 1), toolCall("echo", {}, 2), toolCall("echo", {}, 3), request("ping", {}, 4)];
  let answers: unknown;
  if (way === "a POST") answers = (await door.post(batch, { headers: v2025 })).json;
  else {
    const connection = door.connection((message) => (answers = message));
    await connection.receive(JSON.stringify(initialize("2025-03-26")));
    await connection.receive(JSON.stringify(batch));
    connection.close();
  }
  const byId = new Map((answers as unknown[]).map((one) => [pick(one, "id"), JSON.stringify(one)]));
  expect([1, 2, 3, 4].map((id) => (byId.get(id)?.length ?? 0) > 4 * mib)).toEqual([true, true, false, false]);
  expect(byId.get(3)).toContain(`exceed ${9 * mib} characters together`);
  expect(byId.get(4)).toContain('"result":{}');
});

test("numbers and spaces are forwarded as they were written", async () => {
  await using door = echo();
  const one =
    '{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"name":"echo","arguments":{"n": 1.10}}}';
  const answer = await door.post(` [ ${one}\n,\t${one.replace("993", "994")} ] `, { headers: v2025 });
  expect(answer.text).toContain('"id":9007199254740993,');
  expect(answer.text).toContain('"id":9007199254740994,');
  expect(pick(answer.json, "0.result.content.0.text")).toBe('{"n": 1.10}');
});

test("when one call of a batch sends a message, all answers come on one stream", async () => {
  await using door = new Door(async (call) => {
    if (call.inbound.idText === "2") call.emit?.(note);
    if (call.inbound.idText === "3") await until(() => door.ended.length === 2, "the others to be answered");
    return said(String(call.inbound.idText));
  });
  const headers = await door.session("2025-03-26");
  door.ended.length = 0;
  const answer: Answer = await door.post(
    [1, 2, 3].map((id) => toolCall("echo", {}, id)),
    { headers },
  );
  expect(answer.headers.get("content-type")).toStartWith("text/event-stream");
  const names = answer.events.map((event) => String(pick(event, "id") ?? pick(event, "method")));
  expect(new Set(names)).toEqual(new Set(["1", "2", "3", "notifications/message"]));
  expect(names).toHaveLength(4);
});

test("FIELD T5: a call in a batch can ask the client, and the client's answer may come in a batch", async () => {
  await using door = new Door(async (call) =>
    said((await call.ask?.({ method: "roots/list", params: "{}" }, call.controller.signal))?.text ?? ""),
  );
  const headers = await door.session("2025-03-26");
  const sent = await door.send([toolCall("echo", {}, 1)], { headers });
  const { id, until: says } = await askedOn(sent);
  await door.post([{ jsonrpc: "2.0", id, result: { roots: [] } }, notification], { headers });
  await says('{\\"roots\\":[]}');
});

test("answers in a batch that is refused as a whole each end their own question", async () => {
  await using door = new Door(async (call) =>
    said((await call.ask?.({ method: "roots/list", params: "{}" }, call.controller.signal))?.text ?? ""),
  );
  const headers = await door.session("2025-03-26");
  const asked = await Promise.all(
    [1, 2].map(async (id) => askedOn(await door.send(toolCall("echo", {}, id), { headers }))),
  );
  const twice = [toolCall("echo", {}, 3), toolCall("echo", {}, 3)];
  const answers = asked.map(({ id }) => ({ jsonrpc: "2.0", id, result: { roots: [] } }));
  const refused = await door.post([...answers, ...twice], { headers });
  expect(refused.status).toBe(400);
  for (const { until: says } of asked)
    await says("The client's answer was refused: Two requests in the batch have the id 3.");
});

test("S08, FIELD T46: a batch in an ended session is refused with 404", async () => {
  await using door = echo();
  const headers = { ...(await door.session("2025-03-26")), "mcp-session-id": "A".repeat(43) };
  const answer = await door.post([toolCall("echo", {}, 1)], { headers });
  expect(answer.status).toBe(404);
  expect(seen(door.ended).at(-1)).not.toBe("1");
});

test("a cancellation in a batch ends a running call of the session", async () => {
  await using door = new Door(
    (call) =>
      new Promise((resolve) => {
        call.controller.signal.addEventListener("abort", () => resolve(said("given up")), { once: true });
      }),
  );
  const headers = await door.session("2025-03-26");
  const hanging = door.post(toolCall("echo", {}, "hung"), { headers });
  const cancel = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "hung" } };
  await until(() => door.running.size > 0, "the call runs");
  expect((await door.post([cancel], { headers })).status).toBe(202);
  expect((await hanging).status).toBe(200);
});

test.each(["a POST", "a connection"])(
  "a cancellation in a batch sent by %s keeps a later call of the batch from beginning",
  async (way) => {
    await using door = echo();
    const { resolve } = door.gw.catalog;
    const slow: typeof resolve = (...of) => {
      use(3);
      return resolve(...of);
    };
    Object.assign(door.gw.catalog, { resolve: slow });
    const cancel = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 2 } };
    const batch = [cancel, toolCall("echo", {}, 1), toolCall("echo", {}, 2), toolCall("echo", {}, 3)];
    let got: unknown[] = [];
    if (way === "a POST") {
      const headers = await door.session("2025-03-26");
      got = ids((await door.post(batch, { headers })).json);
    } else {
      const connection = door.connection((message) => (got = ids(message)));
      await connection.receive(JSON.stringify(initialize("2025-03-26")));
      await connection.receive(JSON.stringify(batch));
      connection.close();
    }
    expect(got).toEqual([1, 3]);
    const cancelled = door.ended.find(({ inbound }) => inbound.idText === "2");
    expect([cancelled?.failure?.code, cancelled?.begun]).toEqual(["cancelled", false]);
  },
);

test("a cancellation after a batch on a connection does not cancel a later call under the id of a refused message", async () => {
  await using door = echo();
  const got: unknown[] = [];
  const connection = door.connection((message) => void got.push(message));
  const cancel = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 2 } };
  const batch = [request("ping", {}, 1), { ...initialize("2025-03-26"), id: 2 }];
  for (const message of [initialize("2025-03-26"), batch, cancel, toolCall("echo", {}, 2)]) {
    await connection.receive(JSON.stringify(message));
  }
  connection.close();
  expect(got.map((answer) => (Array.isArray(answer) ? codes(answer) : pick(answer, "id")))).toEqual([
    0,
    [undefined, -32600],
    2,
  ]);
});

test("when a session ends in the middle of a batch, the messages that have not begun are refused", async () => {
  await using door = echo();
  const headers = await door.session("2025-03-26");
  const { resolve } = door.gw.catalog;
  const slow: typeof resolve = (...of) => {
    setImmediate(() => door.sessions.endAll("closed"));
    use(3);
    return resolve(...of);
  };
  Object.assign(door.gw.catalog, { resolve: slow });
  const answer = await door.post([toolCall("echo", {}, 1), toolCall("echo", {}, 2)], { headers });
  expect([ids(answer.json), codes(answer.json)]).toEqual([
    [1, 2],
    [undefined, -32001],
  ]);
  expect(door.ended.at(-1)?.failure?.code).toBe("session-not-found");
});

test.each(["a POST", "a connection"])("T20: other work gets its turn within a batch, for %s", async (way) => {
  let turns = 0;
  const seenAt = new Set<number>();
  await using door = echo();
  const { resolve } = door.gw.catalog;
  // Slow, like rules over long URIs.
  const slow: typeof resolve = (...of) => {
    seenAt.add(turns);
    use(3);
    return resolve(...of);
  };
  Object.assign(door.gw.catalog, { resolve: slow });
  const turned = (): unknown => (turns++, (next = setImmediate(turned)));
  let next = setImmediate(turned);
  const batch = Array.from({ length: 5 }, (_, id) => toolCall("echo", {}, id));
  if (way === "a POST") expect(ids((await door.post(batch, { headers: v2025 })).json)).toHaveLength(5);
  else {
    const got: unknown[] = [];
    const connection = door.connection((message) => got.push(message));
    await connection.receive(JSON.stringify(initialize("2025-03-26")));
    await connection.receive(JSON.stringify(batch));
    expect(ids(got.at(-1))).toHaveLength(5);
    connection.close();
  }
  clearImmediate(next);
  expect(seenAt.size).toBe(5);
});

test.each([
  ["a call", toolCall("slow")],
  ["a batch", [toolCall("slow")]],
])("FIELD T48: a session counts as used until %s in it has ended", async (_, body) => {
  let [ended, seen] = [0, (): number => 0];
  await using door = new Door(
    async () => {
      const begun = seen();
      // A shorter time would not count as a new use.
      await until(() => systemClock.mono() > begun + 20_000, "20 ms");
      ended = systemClock.mono();
      return said("done");
    },
    { sessionLimits: { idle: 160 } },
  );
  const headers = await door.session("2025-03-26");
  const session = door.sessions.find(headers["mcp-session-id"] ?? "", door.who("alice").id, null);
  seen = () => session?.seen ?? 0;
  expect((await door.post(body, { headers })).status).toBe(200);
  expect(seen()).toBeGreaterThanOrEqual(ended);
});
