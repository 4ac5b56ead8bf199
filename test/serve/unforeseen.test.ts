import { describe, expect, test } from "bun:test";
import type { Call } from "../../src/core/call.ts";
import { systemClock } from "../../src/core/clock.ts";
import { type Logger, silent } from "../../src/core/log.ts";
import { quietLimits } from "../support/gateway.ts";
import { type Behaviour, Door, said } from "../support/front-door.ts";
import { Seen } from "../support/seen.ts";
import { modern, pick, request, toolCall } from "../support/wire.ts";
import { writtenLog } from "../support/written-log.ts";

// Unexpected exceptions: the waiting client is answered, nothing stays open, and the log shows the cause.

const internal = -32603;
const progress = { _meta: { progressToken: 1 } };

/** Returns a door and the lines of its log; `fault` breaks the door while a call runs. */
function doorWith(fault: (door: Door, call: Call) => void, behave: Behaviour = () => said("done")) {
  const { lines, log } = writtenLog();
  const door: Door = new Door(
    (call) => {
      fault(door, call);
      return behave(call);
    },
    { log },
  );
  return { door, lines, [Symbol.asyncDispose]: () => door[Symbol.asyncDispose]() };
}

/** Makes the next clock reading fail, with which an ending call measures its duration. */
function breakClock({ gw }: Door): void {
  const mono = (): number => {
    Object.assign(gw, { clock: systemClock });
    throw new Error("the clock failed");
  };
  Object.assign(gw, { clock: { ...systemClock, mono } });
}

/** Makes it fail to mark the session as used when its call has ended. */
function breakTouch({ sessions }: Door): void {
  const touch = (): void => {
    throw new Error("the touch failed");
  };
  Object.assign(sessions, { touch });
}

const tells: Behaviour = (call) => {
  call.emit?.('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}');
  return said("done");
};

describe("a call whose end fails is answered with a failure, and no longer runs", () => {
  test.each(["as JSON", "on a stream"])("over HTTP, %s", async (how) => {
    await using held = doorWith(breakClock, how === "as JSON" ? undefined : tells);
    const { door, lines } = held;
    const { body, headers } = modern("tools/call", { name: "echo" }, { id: 5, meta: progress._meta });
    const { text } = await door.post(body, { headers });
    expect(text).toInclude(`"id":5,"error":{"code":${internal}`);
    expect(door.running.size).toBe(0);
    expect(lines.join()).toInclude("the clock failed");
  });

  test("in a batch, without affecting the other calls", async () => {
    await using held = doorWith((door, { inbound }) => {
      if (inbound.idText === "2") breakClock(door);
    });
    const { door } = held;
    const headers = await door.session("2025-03-26");
    const { json } = await door.post([toolCall("echo", {}, 1), toolCall("echo", {}, 2)], { headers });
    const failed = [pick(json, "0.error.code"), pick(json, "1.error.code")];
    expect([failed.includes(internal), failed.includes(undefined)]).toEqual([true, true]);
    expect(door.running.size).toBe(0);
  });

  test("on a connection", async () => {
    await using held = doorWith(breakClock);
    const { door, lines } = held;
    const seen = new Seen<unknown>();
    const connection = door.connection((message) => seen.push(message));
    await connection.receive(JSON.stringify(toolCall("echo", {}, 5)));
    expect(seen.all).toMatchObject([{ id: 5, error: { code: internal } }]);
    expect(door.running.size).toBe(0);
    expect(lines.join()).toInclude("the clock failed");
  });
});

test("a call that cannot be counted is answered with a failure whose cause is in the log", async () => {
  await using held = doorWith(({ gw }) => {
    const count = (): void => {
      throw new Error("the count failed");
    };
    Object.assign(gw, { metrics: { count } });
  });
  const { door, lines } = held;
  const { json } = await door.post(toolCall("echo", {}, 5));
  expect(json).toMatchObject({ id: 5, error: { code: internal } });
  expect(lines.join()).toInclude("the count failed");
});

test("D6: a call whose slot in the limits cannot be released is still recorded", async () => {
  await using held = doorWith(({ gw }) => {
    const release = (): void => {
      throw new Error("the release failed");
    };
    Object.assign(gw, { limits: { ...quietLimits, release } });
  });
  const { door } = held;
  const { json } = await door.post(toolCall("echo", {}, 5));
  expect(pick(json, "error.code")).toBe(internal);
  expect(door.ended.map(({ failure }) => failure?.code)).toEqual(["internal"]);
});

describe("if an answer cannot be sent,", () => {
  test("an open stream ends", async () => {
    await using held = doorWith(breakTouch, tells);
    const { door, lines } = held;
    const headers = await door.session();
    const { text } = await door.post(request("tools/call", { name: "echo", ...progress }, 5), { headers });
    expect(text).toInclude(`"id":5,"error":{"code":${internal}`);
    expect(door.traffic.streams).toBe(0);
    expect(lines.join()).toInclude("the touch failed");
  });

  test("the stream of a batch ends", async () => {
    await using held = doorWith(breakTouch, tells);
    const { door, lines } = held;
    const headers = await door.session("2025-03-26");
    const { text } = await door.post([request("tools/call", { name: "echo", ...progress }, 5)], { headers });
    expect(text).toInclude(`"id":null,"error":{"code":${internal}`);
    expect(door.traffic.streams).toBe(0);
    expect(lines.join()).toInclude("the touch failed");
  });

  test.each([
    ["one message", (message: unknown) => message],
    ["a batch", (message: unknown) => [message]],
  ])("the process survives even if reporting that fails, for %s", async (_name, sent) => {
    const failed = Promise.withResolvers<void>();
    const log: Logger = {
      ...silent,
      error() {
        failed.resolve();
        throw new Error("the log failed");
      },
    };
    const behave: Behaviour = (call) => {
      breakTouch(door);
      return tells(call);
    };
    await using door: Door = new Door(behave, { log });
    const headers = await door.session("2025-03-26");
    const left = new AbortController();
    const sending = { headers, signal: left.signal };
    await door.send(sent(request("tools/call", { name: "echo", ...progress }, 5)), sending);
    await failed.promise;
    // An unhandled rejection would end the process.
    expect((await door.request("GET", { path: "/live" })).status).toBe(200);
    left.abort();
  });

  test("a connection stays usable", async () => {
    const { lines, log } = writtenLog();
    await using door = new Door(() => said("done"), { log });
    const seen = new Seen<unknown>();
    const connection = door.connection((message) => {
      if (pick(message, "id") === 1) throw new Error("the write failed");
      seen.push(message);
    });
    for (const id of [1, 2]) await connection.receive(JSON.stringify(request("ping", {}, id)));
    expect(seen.all).toMatchObject([{ id: 2, result: {} }]);
    expect(lines.join()).toInclude("the write failed");
  });
});

test("an exception before a request becomes a call is in the log", async () => {
  const causes: unknown[] = [];
  const log: Logger = {
    ...silent,
    warn() {
      throw new Error("the log failed");
    },
    error: (_, facts) => void causes.push(facts?.["cause"]),
  };
  await using door = new Door(() => said("done"), { log, maxConnections: 0 });
  expect((await door.post(request("ping", {}, 1))).status).toBe(500);
  expect(causes.join()).toInclude("the log failed");
});
