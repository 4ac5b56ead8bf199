import { describe, expect, test } from "bun:test";
import type { Call } from "../../src/core/call.ts";
import { Door, said } from "../support/front-door.ts";
import { until } from "../support/until.ts";
import { type Event, initialize, modern, numberedOf, pick, request, toolCall, v2025 } from "../support/wire.ts";

// Messages before the answer to a POST: notifications and requests to the client, even if the client is disconnected.

const note = (n: number) => `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":${n}}}`;
const elicit = { method: "elicitation/create", params: '{"message":"?","requestedSchema":{}}' } as const;

async function next(events: AsyncIterator<Event>): Promise<Event> {
  const { value, done } = await events.next();
  if (done) throw new Error("the stream has ended");
  return value as Event; // an iterator that is not done has a value
}

const accept = (id: unknown, content: unknown = { n: 1 }) => ({
  jsonrpc: "2.0",
  id,
  result: { action: "accept", content },
});

/** Returns a door whose calls the test drives step by step. */
function stepwise() {
  const calls: Call[] = [];
  const ends: ((text: string) => void)[] = [];
  const door = new Door(async (call) => {
    calls.push(call);
    return said(
      await new Promise<string>((resolve) => {
        ends.push(resolve);
        call.controller.signal.addEventListener("abort", () => resolve("given up"), { once: true });
      }),
    );
  });
  const started = (n = 1): Promise<Call> => until(() => calls[n - 1], "the call to run");
  return { door, calls, ends, started };
}

test("a call without messages is answered as JSON, with and without a session", async () => {
  await using door = new Door(() => said("hello"));
  const session = await door.session();
  for (const headers of [session, v2025]) {
    const answer = await door.post(toolCall("echo", {}, 7), { headers });
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(answer.json).toEqual({ jsonrpc: "2.0", id: 7, result: { content: [{ type: "text", text: "hello" }] } });
  }
  expect(door.traffic.streams).toBe(0);
});

test.each(["application/json", "application/*;q=0.9", "text/event-stream;q=0, application/json"])(
  "a client that accepts only %s gets JSON, and cannot be asked",
  async (accept) => {
    const { door, ends, started } = stepwise();
    await using _ = door;
    const session = await door.session();
    const withToken = request("tools/call", { name: "echo", arguments: {}, _meta: { progressToken: "p" } });
    for (const [n, headers] of [session, v2025].entries()) {
      const answer = door.post(withToken, { headers: { ...headers, accept } });
      const call = await started(n + 1);
      expect(call.ask).toBeNull();
      call.emit?.(note(1));
      ends[n]?.("done");
      expect((await answer).headers.get("content-type")).toBe("application/json");
      expect(pick((await answer).json, "result.content.0.text")).toBe("done");
    }
    const { body, headers } = modern("tools/call", { name: "echo", arguments: {} }, { meta: { progressToken: "p" } });
    const answer = door.post(body, { headers: { ...headers, accept } });
    (await started(3)).emit?.(note(1));
    ends[2]?.("done");
    expect((await answer).headers.get("content-type")).toBe("application/json");
    expect(door.traffic.streams).toBe(0);
  },
);

test("a client with a session that names event streams first gets a stream at once so that it can resume; others do not", async () => {
  const { door, ends, started } = stepwise();
  await using _ = door;
  const session = await door.session();
  const accept = "text/event-stream, application/json";
  const abort = new AbortController();
  const sent = await door.send(toolCall("echo"), { headers: { ...session, accept }, signal: abort.signal });
  expect((await next(numberedOf(sent))).id).toBe("1-0");
  await started();
  abort.abort();
  await until(() => door.traffic.streams === 0, "the gateway to notice");
  ends[0]?.("the answer");
  await until(() => door.ended.length === 2, "the call to end");
  const back = await door.request("GET", { headers: { ...session, "last-event-id": "1-0" } });
  expect((await Array.fromAsync(numberedOf(back))).map(({ data }) => pick(data, "result.content.0.text"))).toEqual([
    "the answer",
  ]);
  for (const headers of [
    { ...v2025, accept },
    { ...session, accept: "application/json, text/event-stream" },
  ]) {
    const answer = await door.post(request("ping"), { headers });
    expect(answer.headers.get("content-type")).toBe("application/json");
  }
});

test("a client that was disconnected during many concurrent calls gets every answer when it resumes", async () => {
  const { door, calls, ends } = stepwise();
  await using _ = door;
  const headers = { ...(await door.session()), accept: "text/event-stream, application/json" };
  const abort = new AbortController();
  const ids = Array.from({ length: 40 }, (_, at) => at + 1);
  await Promise.all(ids.map((id) => door.send(toolCall("echo", {}, id), { headers, signal: abort.signal })));
  await until(() => calls.length === ids.length, "the calls to run");
  abort.abort();
  await until(() => door.traffic.streams === 0, "the gateway to notice");
  const before = door.ended.length;
  for (const [at, end] of ends.entries()) end(calls[at]?.inbound.idText ?? "");
  await until(() => door.ended.length === before + ids.length, "the calls to end");
  const answers = ids.map(async (n) => {
    const back = await door.request("GET", { headers: { ...headers, "last-event-id": `${n}-0` } });
    return (await Array.fromAsync(numberedOf(back))).map(
      ({ data }) => pick(data, "id") === Number(pick(data, "result.content.0.text")),
    );
  });
  expect(await Promise.all(answers)).toEqual(ids.map(() => [true]));
});

describe("event ids", () => {
  const emitting = () =>
    new Door((call) => {
      for (let n = 1; n <= 2; n++) call.emit?.(note(n));
      return said("done");
    });

  test.each([
    ["2025-11-25", true],
    ["2025-06-18", false],
    ["2025-03-26", false],
  ] as const)("a session of %s numbers its events; the first has no message: %p", async (revision, primed) => {
    await using door = emitting();
    const session = await door.session(revision);
    const answer = await door.send(toolCall("echo"), { headers: session });
    expect(answer.headers.get("content-type")).toStartWith("text/event-stream");
    expect(answer.headers.get("x-accel-buffering")).toBe("no");
    const events = await Array.fromAsync(numberedOf(answer));
    expect(events.map(({ id }) => id)).toEqual([...(primed ? ["1-0"] : []), "1-1", "1-2", "1-3"]);
    if (primed) expect(events[0]?.data).toBeNull();
    expect(events.at(-1)?.data).toMatchObject({ id: 1, result: { content: [{ text: "done" }] } });
    const second = await Array.fromAsync(numberedOf(await door.send(toolCall("echo"), { headers: session })));
    expect(second.at(-1)?.id).toBe("2-3");
  });

  test("there are none in the modern era or without a session", async () => {
    await using door = emitting();
    const { body, headers } = modern(
      "tools/call",
      { name: "echo" },
      { meta: { "io.modelcontextprotocol/logLevel": "info" } },
    );
    const params = { name: "echo", _meta: { progressToken: 1 } };
    for (const sent of [
      await door.send(body, { headers }),
      await door.send(request("tools/call", params), { headers: v2025 }),
    ]) {
      const events = await Array.fromAsync(numberedOf(sent));
      expect(events.map(({ id }) => id)).toEqual([null, null, null]);
    }
  });

  test("a modern call that asked for neither progress nor logs is answered as JSON, whatever its server sends", async () => {
    await using door = emitting();
    const { body, headers } = modern("tools/call", { name: "echo" });
    expect((await door.post(body, { headers })).headers.get("content-type")).toBe("application/json");
  });
});

describe("requests to the client", () => {
  const asking = (times = 1) =>
    new Door(async (call) => {
      const answers: string[] = [];
      for (let n = 0; n < times; n++) {
        const answer = await call.ask?.(elicit, call.controller.signal);
        answers.push(answer?.text ?? "nobody to ask");
      }
      return said(answers.join());
    });

  test("FIELD T5: a request to the client comes on the stream of its call, and its answer goes back to that call", async () => {
    await using door = asking(2);
    const headers = await door.session("2025-06-18");
    const events = numberedOf(await door.send(toolCall("echo", {}, "mine"), { headers }));
    for (const [n, kind] of ["result", "error"].entries()) {
      const { data } = await next(events);
      expect(data).toMatchObject({ jsonrpc: "2.0", method: "elicitation/create", params: { message: "?" } });
      const answer = {
        jsonrpc: "2.0",
        id: pick(data, "id"),
        [kind]: kind === "result" ? { n: 1.5 } : { code: n, message: "" },
      };
      const posted = await door.post(answer, { headers });
      expect([posted.status, posted.text]).toEqual([202, ""]);
    }
    expect((await next(events)).data).toMatchObject({
      id: "mine",
      result: { content: [{ text: '{"n":1.5},{"code":1,"message":""}' }] },
    });
    expect((await events.next()).done).toBe(true);
    expect(door.traffic).toMatchObject({ streams: 0, asked: 0, stray: 0 });
  });

  test("S20: an answer with an unknown or repeated id, or from another session, is dropped and counted, never an error", async () => {
    await using door = asking();
    const [mine, other] = [await door.session("2025-06-18"), await door.session("2025-06-18")];
    const events = numberedOf(await door.send(toolCall("echo"), { headers: mine }));
    const id = pick((await next(events)).data, "id");
    const post = async (message: unknown, headers: Record<string, string>, key = "alice") =>
      (await door.post(message, { headers, key })).status;
    expect(await post(accept("nobody's"), mine)).toBe(202);
    expect(await post(accept(id, "foreign"), other)).toBe(202);
    expect(await post(accept(id, "sessionless"), v2025)).toBe(202);
    expect(await post(accept(id, "stolen"), mine, "mallory")).toBe(404);
    expect(await post(accept(id, "right"), mine)).toBe(202);
    expect(await post(accept(id, "again"), mine)).toBe(202);
    expect(pick((await next(events)).data, "result.content.0.text")).toContain("right");
    expect(door.traffic.stray).toBe(4);
  });

  test("a client without a session or of the modern era cannot be asked", async () => {
    await using door = asking();
    const { body, headers } = modern("tools/call", { name: "echo" });
    for (const sent of [await door.post(toolCall("echo"), { headers: v2025 }), await door.post(body, { headers })]) {
      expect(pick(sent.json, "result.content.0.text")).toBe("nobody to ask");
    }
  });

  test("when a call ends before its question is answered, the client is told that the question is withdrawn", async () => {
    await using door = new Door((call) => {
      call.ask?.(elicit, new AbortController().signal).catch(() => {});
      return said("done");
    });
    const events = await Array.fromAsync(
      numberedOf(await door.send(toolCall("echo"), { headers: await door.session("2025-06-18") })),
    );
    expect(events.map(({ data }) => pick(data, "method"))).toEqual([
      "elicitation/create",
      "notifications/cancelled",
      undefined,
    ]);
    expect(pick(events[1]?.data, "params.requestId")).toBe(pick(events[0]?.data, "id"));
    expect(door.traffic.asked).toBe(0);
  });

  test("S20: 64 callers with colliding ids, each asked in the middle of its call, get their own answers", async () => {
    await using door = asking(2);
    const names = ["alice", "bob", "carol"];
    const one = async (n: number): Promise<string[]> => {
      const key = names[n % names.length] ?? "";
      const headers = await door.session("2025-06-18", { key });
      const wrong: string[] = [];
      for (let round = 0; round < 3; round++) {
        const marker = `c${n}-r${round}`;
        const events = numberedOf(await door.send(toolCall("echo", {}, round), { headers, key }));
        for (let asked = 0; asked < 2; asked++) {
          const { data } = await next(events);
          await door.post({ jsonrpc: "2.0", id: pick(data, "id"), result: { marker } }, { headers, key });
        }
        const { data } = await next(events);
        const own = `{"marker":"${marker}"}`;
        if (pick(data, "id") !== round || pick(data, "result.content.0.text") !== `${own},${own}`) wrong.push(marker);
      }
      return wrong;
    };
    expect((await Promise.all(Array.from({ length: 64 }, (_, n) => one(n)))).flat()).toEqual([]);
    expect(door.traffic).toMatchObject({ stray: 0, asked: 0, streams: 0 });
  });
});

describe("a disconnected client", () => {
  test("FIELD T43, T46: legacy: its call continues, and with Last-Event-ID it gets the rest of the stream and the answer", async () => {
    const { door, ends, started } = stepwise();
    await using _ = door;
    const headers = await door.session();
    const abort = new AbortController();
    const sent = door.send(toolCall("echo", {}, "cut"), { headers, signal: abort.signal });
    const call = await started();
    call.emit?.(note(1));
    const events = numberedOf(await sent);
    expect([(await next(events)).id, (await next(events)).id]).toEqual(["1-0", "1-1"]);
    abort.abort();
    await until(() => door.traffic.streams === 0, "the gateway to notice");
    call.emit?.(note(2));
    const other = door.send(toolCall("echo", {}, "other"), { headers });
    const second = await started(2);
    second.emit?.(note(99));
    const back = numberedOf(await door.request("GET", { headers: { ...headers, "last-event-id": "1-1" } }));
    expect(await next(back)).toMatchObject({ id: "1-2", data: { params: { data: 2 } } });
    expect(await next(back)).toMatchObject({ id: "1-2", data: null });
    call.emit?.(note(3));
    expect(await next(back)).toMatchObject({ id: "1-3", data: { params: { data: 3 } } });
    ends[0]?.("the answer");
    expect(await next(back)).toMatchObject({
      id: "1-4",
      data: { id: "cut", result: { content: [{ text: "the answer" }] } },
    });
    expect((await back.next()).done).toBe(true);
    expect(call.status).toBe("ok");
    ends[1]?.("the other");
    expect((await Array.fromAsync(numberedOf(await other))).map(({ id }) => id)).toEqual(["2-0", "2-1", "2-2"]);
    const late = numberedOf(await door.request("GET", { headers: { ...headers, "last-event-id": "1-3" } }));
    expect((await Array.fromAsync(late)).map(({ id }) => id)).toEqual(["1-4"]);
  });

  test("gets a question that was asked while it was away when it resumes", async () => {
    const asked = Promise.withResolvers<void>();
    await using door = new Door(async (call) => {
      call.emit?.(note(1));
      await asked.promise;
      return said((await call.ask?.(elicit, call.controller.signal))?.text ?? "");
    });
    const headers = await door.session();
    const abort = new AbortController();
    const events = numberedOf(await door.send(toolCall("echo"), { headers, signal: abort.signal }));
    await next(events);
    abort.abort();
    await until(() => door.traffic.streams === 0, "the gateway to notice");
    asked.resolve();
    await until(() => door.traffic.asked === 1, "the question");
    const back = numberedOf(await door.request("GET", { headers: { ...headers, "last-event-id": "1-0" } }));
    await next(back);
    const question = await next(back);
    expect(await next(back)).toMatchObject({ id: "1-2", data: null });
    await door.post(accept(pick(question.data, "id"), "late"), { headers });
    expect(pick((await next(back)).data, "result.content.0.text")).toContain("late");
  });

  test("an unknown Last-Event-ID is refused and does not harm the session", async () => {
    await using door = new Door(() => said(""));
    const headers = await door.session();
    for (const id of ["7-1", "x", "1-0"]) {
      const answer = await door.request("GET", { headers: { ...headers, "last-event-id": id } });
      expect(answer.status).toBe(400);
    }
    expect((await door.post(request("ping"), { headers })).status).toBe(200);
  });

  test("S08: no one can read another principal's stream", async () => {
    const { door, ends, started } = stepwise();
    await using _ = door;
    const headers = await door.session();
    const sent = door.send(toolCall("echo"), { headers });
    (await started()).emit?.(note(1));
    const stolen = await door.request("GET", { key: "mallory", headers: { ...headers, "last-event-id": "1-0" } });
    expect(stolen.status).toBe(404);
    ends[0]?.("mine");
    expect(await Array.fromAsync(numberedOf(await sent))).toHaveLength(3);
  });

  test("T25: modern: a disconnect cancels the call", async () => {
    const { door, started } = stepwise();
    await using _ = door;
    const abort = new AbortController();
    const { body, headers } = modern("tools/call", { name: "echo" }, { meta: { progressToken: 1 } });
    const sent = door.send(body, { headers, signal: abort.signal });
    const call = await started();
    call.emit?.(note(1));
    await next(numberedOf(await sent));
    abort.abort();
    await until(() => call.controller.signal.aborted, "the call to be cancelled");
    await until(() => door.traffic.streams === 0, "the stream to be closed");
  });

  test("T20: the end of a session ends its calls, questions and streams", async () => {
    await using door = new Door(async (call) => said((await call.ask?.(elicit, call.controller.signal))?.text ?? ""));
    const headers = await door.session();
    const events = numberedOf(await door.send(toolCall("echo", {}, "open"), { headers }));
    await next(events);
    await next(events);
    expect((await door.request("DELETE", { headers })).status).toBe(204);
    expect((await Array.fromAsync(events)).length).toBeLessThanOrEqual(2);
    expect(door.endedSessions).toEqual([headers["mcp-session-id"] ?? ""]);
    expect(door.ended.at(-1)?.status).toBe("cancelled");
    expect((await door.post(request("ping"), { headers })).status).toBe(404);
    expect((await door.post(initialize(), { headers })).status).toBe(200);
  });
});

test("a client that does not read loses progress but not the result", async () => {
  const filler = "x".repeat(64 * 1024);
  await using door = new Door((call) => {
    for (let n = 0; n < 200; n++) call.emit?.(note(n).replace(`"data":`, `"filler":"${filler}","data":`));
    return said("done");
  });
  const params = { name: "echo", _meta: { progressToken: 1 } };
  const answer = await door.send(request("tools/call", params), { headers: v2025 });
  const events = await Array.fromAsync(numberedOf(answer));
  expect(pick(events.at(-1)?.data, "result.content.0.text")).toBe("done");
  expect(door.traffic.lost).toBeGreaterThan(0);
  expect(events.length + door.traffic.lost).toBe(201);
});
