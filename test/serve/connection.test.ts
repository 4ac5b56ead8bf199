import { describe, expect, test } from "bun:test";
import type { Call, Reply } from "../../src/core/call.ts";
import { systemClock } from "../../src/core/clock.ts";
import { Failure } from "../../src/core/failure.ts";
import type { Audit } from "../../src/core/ports.ts";
import { createLimits, createLimitsState } from "../../src/limits/limits.ts";
import { limitsOptions } from "../../src/limits/options.ts";
import { Door, hang, said } from "../support/front-door.ts";
import { Seen } from "../support/seen.ts";
import { until } from "../support/until.ts";
import { initialize, modern, pick, request, toolCall } from "../support/wire.ts";

// One client on its own connection, whatever its transport.

const elicit = { method: "elicitation/create", params: '{"message":"?"}' } as const;
const note = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}';

/** Returns a connection to a gateway; `behave` plays its one server. */
function pipe(behave: (call: Call) => Promise<Reply> | Reply = () => said("hello")) {
  const door = new Door(behave);
  const seen = new Seen<unknown>();
  const connection = door.connection((message) => seen.push(message));
  const receive = (message: unknown): Promise<void> =>
    connection.receive(typeof message === "string" ? message : JSON.stringify(message));
  const open = (revision = "2025-11-25") => receive(initialize(revision));
  const got = (test: (message: unknown) => boolean): Promise<unknown> => seen.first(test);
  const dispose = async (): Promise<void> => {
    connection.close();
    await door[Symbol.asyncDispose]();
  };
  return { door, sent: seen.all, connection, receive, open, got, [Symbol.asyncDispose]: dispose };
}

/** A tool that asks its caller and returns the answer. */
const answered = async (call: Call): Promise<Reply> =>
  said((await call.ask?.(elicit, call.controller.signal))?.text ?? "");

const isRequest = (message: unknown): boolean => pick(message, "method") === "elicitation/create";

describe("after initialize a legacy client has a session", () => {
  test("calls belong to the session, with what the client declared; before initialize and in the modern era there is none", async () => {
    const sessions: unknown[] = [];
    await using client = pipe((call) => {
      sessions.push(call.session && { ...call.capabilities, revision: call.session.revision });
      return said("");
    });
    await client.receive(toolCall("echo"));
    const hello = initialize("2025-06-18");
    const capabilities = { roots: { listChanged: true }, elicitation: {} };
    await client.receive({ ...hello, params: { ...hello.params, capabilities } });
    await client.receive(toolCall("echo"));
    expect(sessions).toEqual([
      null,
      { text: '{"roots":{"listChanged":true},"elicitation":{}}', value: capabilities, revision: "2025-06-18" },
    ]);
    await using other = pipe((call) => said(String(call.session === null && call.ask === null)));
    await other.receive(modern("tools/call", { name: "echo" }).body);
    expect(pick(other.sent[0], "result.content.0.text")).toBe("true");
  });

  test("S25: a session's opening and end are recorded, and its servers are told of its end", async () => {
    const client = pipe();
    const { door } = client;
    await client.open();
    await client.open();
    expect(door.traffic.sessions).toBe(1);
    client.connection.close();
    client.connection.close();
    expect(door.traffic.sessions).toBe(0);
    expect(door.events.map(({ type }) => type)).toEqual([
      "session.open",
      "session.close",
      "session.open",
      "session.close",
    ]);
    expect(new Set(door.events.map((event) => "consumer" in event && event.consumer))).toEqual(
      new Set(["consumer-alice"]),
    );
    expect(new Set(door.endedSessions).size).toBe(2);
    expect(door.notifier.size).toBe(0);
    await door[Symbol.asyncDispose]();
  });
});

describe("the era of a connection is fixed by its first readable request,", () => {
  const version = "io.modelcontextprotocol/protocolVersion";
  const listen = modern("subscriptions/listen", { notifications: { toolsListChanged: true } }, { id: "first" });
  test.each([
    ["even one that is refused", modern("tools/call", { name: "echo" }, { id: "first" }), -32022],
    ["even one that is not answered yet", listen, -32022],
    ["but not by server/discover", modern("server/discover", {}, { id: "first" }), undefined],
    [
      "but not by one of an unknown revision",
      modern("tools/list", {}, { id: "first", meta: { [version]: "2099-01-01" } }),
      undefined,
    ],
  ])("%s", async (_, { body }, code) => {
    await using client = pipe(() => {
      throw new Failure("denied", "no");
    });
    void client.receive(body);
    await client.got((message) => pick(message, "id") === "first" || pick(message, "method") !== undefined);
    await client.open();
    expect(pick(await client.got((message) => pick(message, "id") === 0), "error.code")).toBe(code);
  });
});

/** Returns a pipe whose audit log blocks each opening of a session until the test lets it continue. */
function slowPipe(behave?: (call: Call) => Promise<Reply> | Reply) {
  const client = pipe(behave);
  const { audit } = client.door.gw;
  const held: (() => void)[] = [];
  const recordEvent: Audit["recordEvent"] = async (event) => {
    if (event.type === "session.open") await new Promise<void>((resolve) => held.push(resolve));
    await audit.recordEvent(event);
  };
  Object.assign(client.door.gw, { audit: { ...audit, recordEvent } });
  return { ...client, held };
}

describe("while a session is being opened", () => {
  test("a client that disconnects leaves nothing behind, and the session's end is recorded", async () => {
    const { door, connection, open, held, sent } = slowPipe();
    const opening = open();
    await until(() => held.length === 1, "the opening");
    connection.close();
    held[0]?.();
    await opening;
    expect(door.events.map(({ type }) => type)).toEqual(["session.open", "session.close"]);
    expect([door.notifier.size, door.endedSessions.length, sent]).toEqual([0, 1, []]);
    await door[Symbol.asyncDispose]();
  });

  test("two concurrent initialize requests open one session after the other", async () => {
    const { door, connection, open, held } = slowPipe();
    const opening = [open(), open()];
    await until(() => held.length === 1, "the first opening");
    held[0]?.();
    await until(() => held.length === 2, "the second opening");
    held[1]?.();
    await Promise.all(opening);
    expect([door.notifier.size, door.endedSessions.length]).toEqual([1, 1]);
    connection.close();
    expect([door.notifier.size, door.endedSessions.length]).toEqual([0, 2]);
    await door[Symbol.asyncDispose]();
  });

  test("a session that cannot be recorded is not opened, and its initialize is refused, counted and recorded", async () => {
    await using client = pipe();
    const { gw } = client.door;
    const recordEvent = () => Promise.reject(new Failure("audit-unavailable", "No log."));
    Object.assign(gw, { audit: { ...gw.audit, recordEvent } });
    await client.open();
    expect(pick(client.sent[0], "error.message")).toBe("No log.");
    expect(client.door.ended.map(({ status }) => status)).toEqual(["unavailable"]);
    expect([client.door.notifier.size, client.door.traffic.sessions]).toEqual([0, 0]);
  });
});

describe("a second initialize", () => {
  test("ends the calls of the previous session, which are answered", async () => {
    await using client = pipe(hang);
    await client.open();
    const call = client.receive(toolCall("echo"));
    await until(() => client.door.running.size === 1, "the call to run");
    await client.open();
    await call;
    expect(client.door.ended.map(({ inbound, status }) => [inbound.method, status])).toEqual([
      ["initialize", "ok"],
      ["tools/call", "lost"],
      ["initialize", "ok"],
    ]);
    expect(client.door.ended.map(({ controller }) => controller.signal.aborted)).toEqual([false, true, false]);
    expect(client.sent).toHaveLength(3);
    expect(JSON.stringify(client.sent)).toContain("ended by a newer initialize. The call may have run");
  });
});

const cancel = (requestId: number) => ({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId } });

describe("notifications/cancelled", () => {
  test.each(["in a session", "outside of sessions"])("ends only the call with that id, %s", async (where) => {
    await using client = pipe(hang);
    if (where === "in a session") await client.open();
    const calls = [1, 2].map((id) => client.receive(toolCall("echo", {}, id)));
    await client.receive(cancel(2));
    await calls[1];
    expect(client.door.running.size).toBe(1);
    await client.receive(cancel(1));
    await calls[0];
  });

  test("in a session also ends a call that began before the session, unless the session has one with that id", async () => {
    await using client = pipe(hang);
    const early = client.receive(toolCall("echo", {}, 5));
    await client.open();
    const late = client.receive(toolCall("echo", {}, 5));
    await client.receive(cancel(5));
    await late;
    expect(client.door.running.size).toBe(1);
    await client.receive(cancel(5));
    await early;
  });

  test("from a caller at its limit is still accepted, and so is its answer to a question", async () => {
    await using client = pipe((call) => (call.inbound.idText === "1" ? hang(call) : answered(call)));
    await client.open();
    const calls = [1, 2].map((id) => client.receive(toolCall("echo", {}, id)));
    const question = await client.got(isRequest);
    const full = () => {
      throw new Failure("overloaded", "Too many requests are in flight.");
    };
    Object.assign(client.door.gw, { limits: { ...client.door.gw.limits, admit: full } });
    await client.receive(cancel(1));
    await client.receive({ jsonrpc: "2.0", id: pick(question, "id"), result: {} });
    await Promise.all(calls);
    expect(client.door.ended.flatMap(({ inbound, status }) => (inbound.method === "tools/call" ? status : []))).toEqual(
      ["cancelled", "ok"],
    );
  });

  test("from a caller that is refused ends nothing", async () => {
    await using client = pipe(hang);
    const call = client.receive(toolCall("echo"));
    const { authn } = client.door.gw;
    const identify = () => {
      throw new Failure("frozen", "All callers are frozen.");
    };
    Object.assign(client.door.gw, { authn: { identify } });
    await client.receive(cancel(1));
    expect(client.door.running.size).toBe(1);
    Object.assign(client.door.gw, { authn });
    await client.receive(cancel(1));
    await call;
  });
});

describe("requests to the client", () => {
  test("FIELD T5: a question has an id of the gateway, and its answer goes to the call that asked", async () => {
    await using client = pipe(answered);
    await client.open();
    const calls = [1, 2].map((id) => client.receive(toolCall("echo", {}, id)));
    await until(() => client.sent.filter(isRequest).length === 2, "both questions");
    const questions = client.sent.filter(isRequest).map((message) => pick(message, "id"));
    for (const id of questions.toReversed()) await client.receive({ jsonrpc: "2.0", id, result: { for: id } });
    await client.receive({ jsonrpc: "2.0", id: questions[0], result: {} });
    await client.receive({ jsonrpc: "2.0", id: "made up", error: { code: 1, message: "" } });
    await Promise.all(calls);
    for (const [n, id] of questions.entries()) {
      const answer = client.sent.find((message) => pick(message, "id") === n + 1 && !isRequest(message));
      expect(pick(answer, "result.content.0.text")).toBe(JSON.stringify({ for: id }));
    }
    expect(client.door.traffic).toMatchObject({ stray: 2, asked: 0 });
  });

  test("an unreadable answer ends its question at once, and does not answer the client's own request under the same id", async () => {
    await using client = pipe(answered);
    await client.open();
    // Like a readable answer, it does not count towards the limit on calls in flight.
    const limits = limitsOptions.parse({ inFlight: { perPrincipal: 1 } });
    Object.assign(client.door.gw, { limits: createLimits(limits, systemClock, createLimitsState(systemClock)) });
    const { body } = client.door.gw.caps;
    const unread = ["", ',"result":null', ',"result":{"a":1,"a":2}', `,"result":{"a":"${"x".repeat(body)}"}`];
    // The first round shows which id the next question has.
    for (const rest of ["", ...unread]) {
      const id = Number(pick(client.sent.findLast(isRequest), "id") ?? 0) + 1;
      const call = client.receive(toolCall("echo", {}, id));
      const asked = pick(await client.got((one) => isRequest(one) && Number(pick(one, "id")) >= id), "id");
      await Promise.all([call, client.receive(`{"jsonrpc":"2.0","id":${Number(asked)}${rest}}`)]);
      const [refusal, answer] = client.sent.slice(-2).toSorted((message) => (pick(message, "id") === null ? -1 : 1));
      expect([pick(refusal, "id"), pick(answer, "id")]).toEqual([null, id]);
      expect(pick(answer, "result.content.0.text")).toContain("The client's answer was refused: The ");
    }
    expect(client.door.traffic).toMatchObject({ stray: 0, asked: 0 });
  });

  test("an answer before initialize is counted as stray and breaks nothing", async () => {
    await using client = pipe();
    await client.receive({ jsonrpc: "2.0", id: 1, result: {} });
    await client.open();
    expect(client.door.traffic.stray).toBe(1);
    expect(client.sent).toHaveLength(1);
  });

  test("when the client disconnects, its questions and calls are cancelled", async () => {
    const client = pipe(answered);
    await client.open();
    const call = client.receive(toolCall("echo"));
    await client.got(isRequest);
    client.connection.close();
    await call;
    expect(client.door.ended.at(-1)?.status).toBe("cancelled");
    await client.door[Symbol.asyncDispose]();
  });

  test("when the client cancels its call, the call's question is withdrawn and the call is not answered", async () => {
    await using client = pipe(answered);
    await client.open();
    const call = client.receive(toolCall("echo", {}, "c"));
    const question = pick(await client.got(isRequest), "id");
    await client.receive({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "c" } });
    await call;
    expect(client.sent.at(-1)).toMatchObject({ method: "notifications/cancelled", params: { requestId: question } });
    expect(client.sent.some((message) => pick(message, "id") === "c")).toBe(false);
  });
});

describe("batches", () => {
  test.each([
    ["2024-11-05", true],
    ["2025-03-26", true],
    ["2025-06-18", false],
    ["2025-11-25", false],
  ] as const)("a client of %s may send batches: %p", async (revision, may) => {
    await using client = pipe();
    await client.open(revision);
    await client.receive([request("ping", {}, 1), { jsonrpc: "2.0", method: "notifications/initialized" }, 7]);
    const refused = { id: null, error: { code: -32600 } };
    if (may) expect(client.sent[1]).toMatchObject([{ id: 1, result: {} }, refused]);
    else expect(client.sent[1]).toMatchObject(refused);
  });

  test("a batch that was cancelled while it was read gets no answer, not even an empty line", async () => {
    await using client = pipe();
    await client.open("2025-03-26");
    const { gw } = client.door;
    const gone = (): never => {
      throw new Failure("cancelled", "The client has disconnected.");
    };
    Object.assign(gw, { authn: { identify: gone } });
    await client.receive("[]");
    expect(client.sent).toHaveLength(1);
  });

  test("an error of the whole batch is one error, and a batch of notifications gets no answer", async () => {
    await using client = pipe();
    await client.open("2025-03-26");
    await client.receive("[]");
    await client.receive([{ jsonrpc: "2.0", method: "notifications/initialized" }]);
    await client.receive(Array.from({ length: 6 }, (_, n) => request("ping", {}, n)));
    expect(client.sent.slice(1)).toMatchObject([
      { id: null, error: { code: -32600 } },
      { id: null, error: { code: -32600, message: expect.stringContaining("limits.batch") } },
    ]);
  });
});

describe("messages outside of calls", () => {
  test("a client can be asked outside of calls over its connection", async () => {
    let id = "";
    await using client = pipe((call) => {
      id = call.session?.id ?? "";
      return said("");
    });
    await client.open();
    await client.receive(toolCall("echo"));
    const question = { method: "roots/list", params: "{}" } as const;
    const answer = client.door.notifier.reach(id)?.ask(question, new AbortController().signal);
    const asked = await client.got((message) => pick(message, "method") === "roots/list");
    await client.receive(JSON.stringify({ jsonrpc: "2.0", id: pick(asked, "id"), result: { roots: [] } }));
    expect(await answer).toEqual({ kind: "result", text: '{"roots":[]}' });
  });

  test("R112: a legacy client is sent list changes and server messages, a modern client only if it listens", async () => {
    await using client = pipe();
    await using other = pipe();
    await client.open();
    await other.receive(modern("tools/list").body);
    for (const { door } of [client, other]) {
      door.shown = "2";
      door.notifier.changed();
    }
    await client.got((message) => pick(message, "method") === "notifications/tools/list_changed");
    client.door.notifier.notice({
      server: "git",
      method: "notifications/message",
      params: '{"level":"error","data":"x"}',
      owner: client.door.who("alice").id,
      session: null,
    });
    await client.got((message) => pick(message, "params.data") === "x");
    expect(other.sent).toHaveLength(1);
  });

  test("a call's log messages need no progress token in a session, but need a log level in the modern era", async () => {
    const behave = (call: Call): Reply => {
      call.emit?.(note);
      return said("");
    };
    await using legacy = pipe(behave);
    await legacy.open();
    await legacy.receive(toolCall("echo"));
    expect(pick(legacy.sent[1], "method")).toBe("notifications/message");
    await using neo = pipe(behave);
    const meta = { "io.modelcontextprotocol/logLevel": "info" };
    await neo.receive(modern("tools/call", { name: "echo" }).body);
    await neo.receive(modern("tools/call", { name: "echo" }, { meta }).body);
    expect(neo.sent.map((message) => pick(message, "method"))).toEqual([undefined, "notifications/message", undefined]);
  });
});
