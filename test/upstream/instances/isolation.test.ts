import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import type { AbortSignalLike } from "../../../src/core/cancel.ts";
import type { ClientAnswer, InputRequest } from "../../../src/core/inbound.ts";
import type { SessionQuestion } from "../../../src/core/upstream.ts";
import { rejectionOf } from "../../support/failure.ts";
import {
  callTo,
  fake,
  type HarnessOptions,
  jsonOf,
  listed,
  paramsOf,
  serveFake,
  textOf,
  upstreams,
} from "../../support/upstream.ts";
import { principal } from "../../support/principal.ts";
import { TempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

setDefaultTimeout(30_000);

type Set = ReturnType<typeof upstreams>;
const accept = async (): Promise<ClientAnswer> => ({ kind: "result", text: '{"roots":[]}' });
const declares = { roots: { listChanged: true }, sampling: {}, "com.example/new": { a: 1.5 } };

const declared = async (set: Set, more: Parameters<Set["ask"]>[3]): Promise<unknown> =>
  jsonOf(await set.ask("a", "seen", {}, more)).declared;

test("a legacy server receives the capabilities of its caller's client, without tasks", async () => {
  await using set = upstreams([fake("a")]);
  const tasks = { list: {}, requests: {} };
  for (const more of [{ session: "s1" }, { era: "modern" }] as const)
    expect(await declared(set, { ...more, declares: { ...declares, tasks } })).toEqual(declares);
  expect(await declared(set, { session: "s2", declares: { extensions: { "a/b": {} } } })).toEqual({
    extensions: { "a/b": {} },
  });
  expect(await declared(set, { who: principal("bob") })).toEqual({});
});

test.each(["legacy", "modern"] as const)(
  "a modern server receives the capabilities of its %s client with each request, so it needs no instance for them",
  async (era) => {
    await using set = upstreams([fake("a", ["--era", "modern"])]);
    const seen: unknown[] = [];
    for (const [session, offers] of [
      ["s1", {}],
      ["s2", declares],
      ["s3", { elicitation: {} }],
    ] as const) {
      const more = { era, declares: offers, ...(era === "legacy" && { session }) };
      seen.push(jsonOf(await set.ask("a", "count", {}, more)).calls);
    }
    expect(seen).toEqual([1, 2, 3]);
  },
);

test("FIELD T17: a session that offers sampling, elicitation or roots has its own instance; others share their principal's", async () => {
  await using set = upstreams([fake("a")]);
  const calls = async (session: string, offers: Record<string, unknown>) =>
    jsonOf(await set.ask("a", "count", {}, { session, declares: offers })).calls;
  expect(await calls("s1", declares)).toBe(1);
  expect(await calls("s2", declares)).toBe(1);
  expect(await calls("s1", declares)).toBe(2);
  expect(await calls("s3", {})).toBe(1);
  expect(await calls("s4", {})).toBe(2);
  set.endSession("s1");
  await until(() => set.status()[0]?.instances === 2, "the session's instance to end");
  expect(await calls("s1", declares)).toBe(1);
});

test("a modern client's instance of a legacy server depends on its principal and its capabilities", async () => {
  await using set = upstreams([fake("a")]);
  const calls = async (offers: Record<string, unknown>, who = "alice") =>
    jsonOf(await set.ask("a", "count", {}, { era: "modern", declares: offers, who: principal(who) })).calls;
  expect([await calls(declares), await calls(declares), await calls({ elicitation: {} })]).toEqual([1, 2, 1]);
  expect(await calls(declares, "bob")).toBe(1);
});

test("isolation: per-session gives each session an instance; callers without a session share their principal's", async () => {
  await using set = upstreams([fake("a", [], { isolation: "per-session" })]);
  const calls = async (session?: string) => jsonOf(await set.ask("a", "count", {}, { session })).calls;
  expect([await calls("s1"), await calls("s2"), await calls("s1")]).toEqual([1, 1, 2]);
  expect([await calls(), await calls()]).toEqual([1, 2]);
});

test("FIELD T17: no instance is started for an ended session, and one that is still starting ends with its session", async () => {
  await using set = await listed([fake("a", [], { isolation: "per-session" })]);
  const controller = new AbortController();
  const ask = () => rejectionOf(set.ask("a", "echo", {}, { session: "s1", controller }));
  const waiting = ask();
  expect(set.status()[0]?.instances).toBe(1);
  controller.abort();
  set.endSession("s1");
  expect((await waiting).code).toBe("cancelled");
  await until(() => set.status()[0]?.instances === 0, "the session's instance to end");
  expect((await ask()).code).toBe("cancelled");
  expect(set.status()[0]?.instances).toBe(0);
});

test("isolation: shared declares no capabilities to a legacy server, and its questions reach no client", async () => {
  await using set = upstreams([fake("a", [], { isolation: "shared" })]);
  const more = { session: "s", declares, input: accept };
  expect(await declared(set, more)).toEqual({});
  expect(jsonOf(await set.ask("a", "ask", { method: "roots/list" }, more))).toMatchObject({ error: { code: -32601 } });
});

test("S20: extension notifications of a shared legacy server reach no client and do not keep calls alive", async () => {
  await using set = upstreams([fake("a", [], { isolation: "shared", timeout: "300ms" })]);
  await until(() => set.ask("a", "echo").catch(() => null), "an answer in time");
  const said: string[] = [];
  const emit = (text: string): void => void said.push(text);
  const more = { session: "s", declares: { extensions: { "com.acme/acme": {} } }, emit };
  expect((await rejectionOf(set.ask("a", "work", { steps: 20, ms: 50, method: "acme/beat" }, more))).code).toBe(
    "timeout",
  );
  expect(said).toEqual([]);
});

test("an instance is notified once that the roots have changed, however often they changed while it started", async () => {
  await using set = upstreams([fake("a")]);
  const own = { session: "s1", declares };
  const changed = callTo("x", {}, own);
  await set.ask("a", "echo");
  const started = set.ask("a", "echo", {}, own);
  await until(() => set.status()[0]?.instances === 2, "the instance to start");
  for (let n = 0; n < 1_000; n++) set.notify(changed, "notifications/roots/list_changed");
  await started;
  const heard = async (): Promise<number> =>
    (jsonOf(await set.ask("a", "seen", {}, own)).notified as string[]).filter((one) => one.includes("roots")).length;
  expect(await heard()).toBe(1);
  set.notify(changed, "notifications/roots/list_changed");
  await until(async () => (await heard()) === 2, "the next change");
});

test("roots/list_changed reaches the session's own legacy instances", async () => {
  await using set = upstreams([fake("a")]);
  await set.ask("a", "echo", {}, { session: "s1", declares });
  await set.ask("a", "echo", {}, { session: "s2", declares });
  const own = { session: "s1", declares };
  for (const who of ["alice", "mallory"].map((id) => principal(id)))
    set.notify(callTo("x", {}, { ...own, who }), "notifications/roots/list_changed");
  const heard = async (session: string) =>
    (jsonOf(await set.ask("a", "seen", {}, { session, declares })).notified as string[]).filter((one) =>
      one.includes("roots"),
    );
  await until(async () => (await heard("s1")).length === 1, "the notification");
  expect(await heard("s2")).toEqual([]);
});

test.each([
  ["a child", []],
  ["HTTP", ["--http", "--sse"]],
  ["a WebSocket", ["--websocket"]],
] as [string, string[]][])(
  "FIELD T17: a question outside of calls goes to the session that owns the instance: %s",
  async (_over, args) => {
    const follow = ["--mode", "follow-roots", ...args];
    await using served = args.length > 0 ? await serveFake(follow, { id: "a" }) : null;
    const questions: SessionQuestion[] = [];
    const asked: NonNullable<HarnessOptions["askSession"]> = async (question) => {
      questions.push(question);
      return { kind: "result", text: `{"roots":[{"uri":"file:///${question.session}"}]}` };
    };
    await using set = upstreams([served?.options ?? fake("a", follow)], { askSession: asked });
    const seen = async (session: string) => jsonOf(await set.ask("a", "seen", {}, { session, declares })).roots;
    for (const session of ["s1", "s2"]) expect(await seen(session)).toBeUndefined();
    if (args.includes("--sse")) await until(() => (set.status()[0]?.streams ?? 0) >= 3, "each session's stream");
    set.notify(callTo("x", {}, { session: "s1", declares }), "notifications/roots/list_changed");
    await until(async () => (await seen("s1")) !== undefined, "the answer to be with the server");
    expect(await seen("s1")).toMatchObject({ result: { roots: [{ uri: "file:///s1" }] } });
    expect(questions).toEqual([
      { server: "a", owner: "alice", session: "s1", request: { method: "roots/list", params: "{}" } },
    ]);
    expect(await seen("s2")).toBeUndefined();
  },
);

test("during several calls of one caller, an ambiguous question is refused, but a log message is passed on", async () => {
  await using set = upstreams([fake("a", [], { isolation: "per-principal", timeout: "3s" })]);
  const seen: string[] = [];
  const more = { era: "modern" as const, declares, input: accept, logLevel: "debug" as const };
  const hung = rejectionOf(set.ask("a", "hang", {}, more));
  await until(() => set.status()[0]?.inFlight === 1, "the first call");
  const refused = await set.ask("a", "ask", { method: "roots/list" }, more);
  expect(jsonOf(refused)).toMatchObject({ error: { code: -32601 } });
  await set.ask("a", "log", { levels: ["error"] }, { ...more, emit: (text) => void seen.push(text) });
  expect(seen.map(paramsOf)).toMatchObject([{ level: "error" }]);
  expect(set.notices).toEqual([]);
  expect(set.status()[0]?.dropped).toBe(1);
  await hung;
});

test("a message that belongs to no call reaches all sessions of a principal that share the instance", async () => {
  await using set = upstreams([fake("a", [], { isolation: "per-principal" })]);
  const seen: string[] = [];
  const from = (session: string) => ({ session, emit: (text: string) => void seen.push(`${session} ${text}`) });
  const controller = new AbortController();
  const hung = rejectionOf(set.ask("a", "hang", {}, { ...from("s1"), controller }));
  await until(() => set.status()[0]?.inFlight === 1, "the first call");
  await set.ask("a", "log", { levels: ["error"] }, from("s2"));
  expect(set.status()[0]?.instances).toBe(1);
  expect(seen.map((text) => text.slice(0, 2)).toSorted()).toEqual(["s1", "s2"]);
  controller.abort();
  await hung;
});

test.each([
  ["a child", []],
  ["HTTP+SSE", ["--pair"]],
  ["a WebSocket", ["--websocket"]],
] as [string, string[]][])("a question asked during several calls goes to the remaining call: %s", async (...row) => {
  const [, args] = row;
  using at = new TempDir();
  await using served = args.length > 0 ? await serveFake(args, { id: "a", protocol: "legacy" }) : null;
  await using set = upstreams([served?.options ?? fake("a")]);
  const file = at.path("go-on");
  const nobody = async (): Promise<ClientAnswer> => ({ kind: "error", text: "{}" });
  const more = { era: "modern" as const, declares };
  const slow = set.ask("a", "slow", { ms: 0, file }, { ...more, input: nobody });
  const asking = set.ask("a", "ask", { method: "roots/list" }, { ...more, input: accept });
  await until(() => set.status()[0]?.inFlight === 2, "both calls");
  // Sent last, so that the question arrives before its answer.
  await set.ask("a", "echo", {}, { ...more, input: nobody });
  writeFileSync(file, "");
  await slow;
  expect(jsonOf(await asking)).toEqual({ result: { roots: [] } });
});

test("all calls of a session on its own child may ask questions, and no call's time runs in the meantime", async () => {
  await using set = upstreams([fake("a", [], { timeout: "1s" })]);
  const more = { session: "s1", declares };
  await set.ask("a", "echo", {}, more);
  const all = Promise.withResolvers<void>();
  let asked = 0;
  const input = async ({ params }: InputRequest): Promise<ClientAnswer> => {
    if (++asked === 3) all.resolve();
    await all.promise;
    // A call of another session shows that time passes.
    if (params.includes('"q":1'))
      expect((await rejectionOf(set.ask("a", "hang", {}, { session: "s2" }))).code).toBe("timeout");
    return { kind: "result", text: params };
  };
  const ask = async (q: number) =>
    jsonOf(await set.ask("a", "ask", { method: "roots/list", params: { q } }, { ...more, input })).result;
  const running = rejectionOf(set.ask("a", "hang", {}, { ...more, input }));
  await until(() => set.status()[0]?.inFlight === 1, "the first call");
  expect(await Promise.all([1, 2, 3].map(ask))).toEqual([{ q: 1 }, { q: 2 }, { q: 3 }]);
  expect((await running).code).toBe("timeout");
});

test("a notification names the owner of its instance, and nothing that only the gateway may set", async () => {
  await using served = await serveFake(["--http", "--sse", "--rich"]);
  await using set = upstreams([served.options]);
  await set.ask("fake", "echo", {}, { session: "s1", declares });
  await until(() => set.status()[0]?.streams === 2, "the session's own stream");
  const params = { elicitationId: "e1", _meta: { "com.example/x": 1 } };
  const forged = { "io.modelcontextprotocol/serverInfo": { name: "x", version: "1" } };
  await set.ask(
    "fake",
    "announce",
    { method: "notifications/elicitation/complete", params: { ...params, _meta: { ...forged, ...params["_meta"] } } },
    { session: "s1", declares },
  );
  await until(() => set.notices.length === 1, "the notice");
  expect(set.notices).toEqual([
    {
      server: "fake",
      method: "notifications/elicitation/complete",
      params: JSON.stringify(params),
      owner: "alice",
      session: "s1",
    },
  ]);
});

test("the completion of a URL elicitation is reported on the stream of its call", async () => {
  await using set = upstreams([fake("a")]);
  const seen: unknown[] = [];
  const emit = (message: string): void => void seen.push(JSON.parse(message));
  const complete = { method: "notifications/elicitation/complete", params: { elicitationId: "e1", "x-more": 1 } };
  await set.ask("a", "announce", complete, { session: "s1", declares, emit });
  expect(seen).toEqual([{ jsonrpc: "2.0", ...complete }]);
  expect(set.notices).toEqual([]);
});

test("a client's error reaches the server; a question ends when its call is given up", async () => {
  await using served = await serveFake(["--http", "--sse"], { id: "a" });
  await using set = upstreams([served.options]);
  const declined = async (): Promise<ClientAnswer> => ({
    kind: "error",
    text: '{"code":-1,"message":"the user declined"}',
  });
  const reply = await set.ask("a", "ask", { method: "roots/list" }, { session: "s", declares, input: declined });
  expect(JSON.parse(textOf(reply))).toEqual({ error: { code: -1, message: "the user declined" } });
  const controller = new AbortController();
  const asked = Promise.withResolvers<AbortSignalLike>();
  const input = (_: unknown, signal: AbortSignalLike): Promise<ClientAnswer> => {
    asked.resolve(signal);
    return new Promise(() => {});
  };
  const failed = rejectionOf(
    set.ask("a", "ask", { method: "roots/list" }, { session: "s", declares, input, controller }),
  );
  const signal = await asked.promise;
  expect(signal.aborted).toBe(false);
  controller.abort();
  expect((await failed).code).toBe("cancelled");
  expect(signal.aborted).toBe(true);
});

test("FIELD T66: a log message of the call also resets its idle timeout, even if nobody reads it", async () => {
  await using served = await serveFake(["--http", "--sse"], { id: "a", timeout: "600ms" });
  await using set = upstreams([served.options]);
  // A call's time counts from before its server has started.
  await set.settled();
  await set.ask("a", "echo");
  expect(textOf(await set.ask("a", "work", { steps: 8, ms: 100, log: true }))).toBe("worked");
});

test("FIELD T66: progress resets the idle timeout but not the total limit", async () => {
  await using served = await serveFake(["--http", "--sse"], { id: "a", timeout: "600ms", maxTimeout: "1500ms" });
  await using set = upstreams([served.options]);
  // A call's time counts from before its server has started.
  await set.settled();
  await set.ask("a", "echo");
  const seen: string[] = [];
  const more = { token: '"p"', emit: (text: string) => void seen.push(text) };
  expect(textOf(await set.ask("a", "work", { steps: 8, ms: 100 }, more))).toBe("worked");
  const before = performance.now();
  const failure = await rejectionOf(set.ask("a", "work", { steps: 60, ms: 100 }, more));
  expect([failure.code, failure.message]).toEqual(["timeout", expect.stringContaining("within 1500ms")]);
  expect(performance.now() - before).toBeGreaterThan(1_450);
  expect((await rejectionOf(set.ask("a", "hang", {}, more))).code).toBe("timeout");
});
