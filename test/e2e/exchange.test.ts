import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { connect } from "../../src/control/client.ts";
import { type Daemon, everything, fake, start } from "../support/daemon.ts";
import { opens, openStream, reply, serve, type Stream, told as event } from "../support/mcp-server.ts";
import { until } from "../support/until.ts";
import { type Answer, eventsOf, modern, pick, request, resultOf, textOf, toolCall, v2025 } from "../support/wire.ts";

// One request with its progress, its cancellation and its answer, which never reach another caller.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = {
  servers: [fake("fake", [], { isolation: "shared" })],
  policies: [everything()],
};

let daemon: Daemon;
let keys: string[];
let key: string;

beforeAll(async () => {
  daemon = await start(config);
  keys = [];
  for (const name of ["alice", "bob", "carol", "dave"]) keys.push(await daemon.place.key(name));
  key = keys[0] ?? "";
});
afterAll(() => daemon[Symbol.asyncDispose]());

const told = (): unknown[] => daemon.place.heard("fake").filter(({ method }) => method === "notifications/cancelled");
const ran = (tool: string): number => daemon.place.calls("fake").filter((name) => name === tool).length;
const endOf = async (id: string) => {
  const records = await daemon.place.records();
  const begin = records.find(({ type, rpc }) => type === "call.begin" && rpc === JSON.stringify(id));
  return records.find(({ type, call }) => type === "call.end" && call === begin?.call);
};

test.each([
  ["legacy", '"a string"'],
  ["legacy", "7"],
  ["modern", '"a string"'],
  ["modern", "9007199254740993"],
] as const)(
  "progress of a %s call comes as events under the caller's token %s, then the answer",
  async (era, token) => {
    const params = { name: "fake__progress", arguments: {}, _meta: { progressToken: "TOKEN" } };
    const { body, headers } =
      era === "modern"
        ? modern("tools/call", { name: "fake__progress", arguments: {} }, { id: "p", meta: { progressToken: "TOKEN" } })
        : { body: request("tools/call", params, "p"), headers: v2025 };
    const answer = await daemon.post(JSON.stringify(body).replace('"TOKEN"', token), { key, headers });
    expect(answer.headers.get("content-type")).toStartWith("text/event-stream");
    expect(answer.headers.get("x-accel-buffering")).toBe("no");
    expect(answer.events).toHaveLength(4);
    expect(answer.text.split(`"progressToken":${token}`)).toHaveLength(4);
    expect(answer.events.map((event) => pick(event, "params.progress"))).toEqual([1, 2, 3, undefined]);
    expect(answer.events.at(-1)).toMatchObject({ id: "p", result: { content: [{ text: "done" }] } });
    expect(answer.text).not.toContain("foreign");
  },
);

test("a call without a progress token is answered as JSON", async () => {
  const answer = await daemon.call("fake__progress", {}, key);
  expect(answer.headers.get("content-type")).toBe("application/json");
  expect(textOf(answer.json)).toBe("done");
});

test("a cancellation notification ends only the call of its session; the server is notified, nothing is answered", async () => {
  const [mine, other] = [await daemon.session(key), await daemon.session(key)];
  const cancellations = async () => (await daemon.place.records()).filter(({ st }) => st === "cancelled").length;
  const before = { hanging: ran("hang"), told: told().length, cancellations: await cancellations() };
  const hang = (session: Record<string, string>, id: string): Promise<Answer> =>
    daemon.post(toolCall("fake__hang", {}, id), { key, headers: session });
  let otherEnded = false;
  const cancelled = hang(mine, "same-id");
  const kept = hang(other, "same-id").finally(() => (otherEnded = true));
  await until(() => ran("hang") === before.hanging + 2, "both run");
  const cancel = (session: Record<string, string>, who: string, requestId: unknown): Promise<Answer> =>
    daemon.post(
      { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId, reason: "enough" } },
      { key: who, headers: session },
    );
  expect((await cancel(mine, keys[1] ?? "", "same-id")).status).toBe(404);
  expect((await cancel(mine, key, "no-such-id")).status).toBe(202);
  expect((await cancel(mine, key, "same-id")).status).toBe(202);
  expect(await cancelled).toMatchObject({ status: 200, text: "" });
  await until(() => told().length === before.told + 1, "the server was told");
  expect(told().at(-1)).toMatchObject({ params: { reason: "enough" } });
  expect(otherEnded).toBe(false);
  expect(await cancellations()).toBe(before.cancellations + 1);
  await cancel(other, key, "same-id");
  await kept;
  await until(() => told().length === before.told + 2, "the server was told of the other too");
});

test("a modern client that disconnects cancels its call; the server is notified and the record says so", async () => {
  const before = { hanging: ran("hang"), told: told().length };
  const abort = new AbortController();
  const { body, headers } = modern("tools/call", { name: "fake__hang", arguments: {} }, { id: "gone" });
  const call = daemon.post(body, { key, headers, signal: abort.signal }).catch(() => null);
  await until(() => ran("hang") === before.hanging + 1, "it runs");
  abort.abort();
  expect(await call).toBeNull();
  await until(() => told().length === before.told + 1, "the server was told");
  expect(await until(() => endOf("gone"), "it is recorded")).toMatchObject({ st: "cancelled" });
});

test("the number of a consumer's requests in flight is reported while they run", async () => {
  const client = await connect(join(daemon.place.state, "control.sock"), { version: "0" });
  const inFlight = async (): Promise<number | undefined> =>
    (await client.call("consumers", {})).consumers.find(({ consumer }) => consumer === "dave")?.inFlight;
  const before = { hanging: ran("hang"), told: told().length };
  const abort = new AbortController();
  const { body, headers } = modern("tools/call", { name: "fake__hang", arguments: {} });
  const call = daemon.post(body, { key: keys[3] ?? "", headers, signal: abort.signal }).catch(() => null);
  await until(() => ran("hang") === before.hanging + 1, "it runs");
  expect(await inFlight()).toBe(1);
  abort.abort();
  await call;
  await until(async () => (await inFlight()) === 0, "its end");
  await until(() => told().length === before.told + 1, "the server was told");
  client.close();
});

test("a legacy client that disconnects does not cancel: the call runs to its end", async () => {
  const before = { ran: ran("slow"), told: told().length };
  const abort = new AbortController();
  const call = daemon
    .post(toolCall("fake__slow", { ms: 300 }, "stays"), { key, headers: v2025, signal: abort.signal })
    .catch(() => null);
  await until(() => ran("slow") > before.ran, "it runs");
  abort.abort();
  expect(await call).toBeNull();
  expect(await until(() => endOf("stays"), "it is recorded")).toMatchObject({ st: "ok" });
  expect(told()).toHaveLength(before.told);
});

test("ids are returned as they were written, however similar", async () => {
  const ids = ["1", '"1"', "1.0", "0", "-1", "9007199254740993", "9007199254740992", '"\\u0031"', '"ü\\n"', '""'];
  const answers = await Promise.all(
    ids.map((id, n) => {
      const text = `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"fake__slow","arguments":{"ms":${n % 3},"n":${n}}}}`;
      return daemon.post(text, { key, headers: v2025 });
    }),
  );
  for (const [n, answer] of answers.entries()) {
    expect(answer.text).toContain(`"id":${ids[n]},`);
    expect(resultOf(answer.json)).toMatchObject({ n });
  }
});

type Caller = { readonly key: string; readonly headers: Record<string, string> };
const colliding = ["0", "1", '"1"', "1.0", "2", "9007199254740993"];

/** Each caller reuses the same few ids; resolves to the number of calls and of answers that were not its own. */
async function collide(callers: readonly Caller[], rounds: number): Promise<{ calls: number; foreign: string[] }> {
  const foreign: string[] = [];
  let calls = 0;
  await Promise.all(
    callers.map(async ({ key: own, headers }, caller) => {
      for (let round = 0; round < rounds; round++) {
        const id = colliding[round % colliding.length];
        const marker = `c${caller}-r${round}`;
        const args = { ms: Math.floor(Math.random() * 4), marker };
        const text = `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"fake__slow","arguments":${JSON.stringify(args)}}}`;
        const answer = await daemon.post(text, { key: own, headers });
        calls++;
        if (pick(resultOf(answer.json), "marker") !== marker || !answer.text.includes(`"id":${id},`))
          foreign.push(answer.text);
      }
    }),
  );
  return { calls, foreign };
}

test("S20: 64 callers with the same ids and one key, with and without sessions, each get only their own answers", async () => {
  const session = await daemon.session(key);
  const callers = Array.from({ length: 64 }, (_, n) => ({ key, headers: n % 2 === 0 ? v2025 : session }));
  expect(await collide(callers, 20)).toEqual({ calls: 1280, foreign: [] });
});

test("S20: 64 callers with the same ids and different keys on one shared server each get only their own answers", async () => {
  const sessions = await Promise.all(keys.map((one) => daemon.session(one)));
  const callers = Array.from({ length: 64 }, (_, n) => ({
    key: keys[n % keys.length] ?? "",
    headers: n % 8 < 4 ? v2025 : (sessions[n % keys.length] ?? {}),
  }));
  expect(await collide(callers, 20)).toEqual({ calls: 1280, foreign: [] });
  expect(
    new Set(
      daemon.place
        .heard("fake")
        .filter(({ method }) => method === "tools/call")
        .map(({ pid }) => pid),
    ).size,
  ).toBe(1);
});

test("S37: by default each principal has its own server process", async () => {
  await using own = await start({ ...config, servers: [fake("fake")] });
  const pids: unknown[] = [];
  for (const name of ["alice", "bob"]) {
    const one = await own.place.key(name);
    const two = [await own.call("fake__count", {}, one), await own.call("fake__count", {}, one)];
    pids.push(...two.map(({ json }) => pick(resultOf(json), "pid")));
  }
  expect(pids[0]).toBe(pids[1]);
  expect(pids[2]).toBe(pids[3]);
  expect(pids[0]).not.toBe(pids[2]);
});

test("what a server sends outside of calls reaches the session that it serves, even after a reload", async () => {
  const streams: Stream[] = [];
  using upstream = serve(({ method, id }, { method: verb }) => {
    if (verb === "GET") return openStream({ start: (stream) => void streams.push(stream) });
    if (method === "initialize") return opens(id, crypto.randomUUID());
    return method === "tools/list" ? reply(id, { tools: [{ name: "echo", inputSchema: { type: "object" } }] }) : null;
  });
  const web = { id: "web", url: upstream.url };
  await using own = await start({ servers: [web], policies: [everything()] });
  const alice = await own.place.key("alice");
  const session = await own.session(alice);
  const events = eventsOf(await own.stream(alice, session));
  await own.post(toolCall("web__echo"), { key: alice, headers: session });
  await until(() => streams.length === 2, "its own stream in addition to the stream for list changes");
  for (const data of ["first", "second"]) {
    for (const stream of streams) stream.enqueue(event("notifications/message", { level: "error", data }));
    expect((await events.next()).value).toMatchObject({ method: "notifications/message", params: { data } });
    own.place.configure({ servers: [web], policies: [everything(), everything("admin")] });
    expect(await own.place.cli(["config", "reload"])).toMatchObject({ code: 0 });
  }
});
