import { expect, test } from "bun:test";
import { rejectionOf } from "../../support/failure.ts";
import { principal, stillClock } from "../../support/principal.ts";
import { until } from "../../support/until.ts";
import { callTo, fake, type Harness, jsonOf, listed, quick, upstreams } from "../../support/upstream.ts";

const state = (set: ReturnType<typeof upstreams>) => set.status().find(({ id }) => id === "a");

test("beyond maxInstances a new principal is refused, and those with open sessions keep their instances", async () => {
  await using set = upstreams([fake("a", [], { maxInstances: 2 })]);
  for (const who of ["alice", "bob"]) await set.ask("a", "echo", {}, { who: principal(who), session: who });
  const failure = await rejectionOf(set.ask("a", "echo", {}, { who: principal("carol") }));
  expect(failure.code).toBe("overloaded");
  expect(failure.message).toContain("all of its 2 instances are in use or kept for callers that have not left");
  // The first is available again once it was unused for idleStop.
  const wait = failure.detail.retryAfterMs ?? 0;
  expect(wait > 590_000 && wait <= 600_000).toBe(true);
  await set.ask("a", "echo", {}, { who: principal("bob") });
});

test("beyond maxInstances the instance of a caller that has ended all its sessions is replaced, and others are kept", async () => {
  await using set = upstreams([fake("a", [], { maxInstances: 2 })]);
  const calls = async (who: string, session: string) =>
    jsonOf(await set.ask("a", "count", {}, { who: principal(who), session })).calls;
  const refused = async () => (await rejectionOf(calls("carol", "c1"))).code;
  expect([await calls("alice", "a1"), await calls("bob", "b1"), await calls("bob", "b2")]).toEqual([1, 1, 2]);
  set.endSession("b1");
  expect(await refused()).toBe("overloaded");
  // Its caller has left, but has a call that is still running.
  const controller = new AbortController();
  const hung = rejectionOf(set.ask("a", "hang", {}, { who: principal("bob"), session: "b2", controller }));
  await until(() => state(set)?.inFlight === 1, "the call to run");
  set.endSession("b2");
  expect(await refused()).toBe("overloaded");
  controller.abort();
  await hung;
  expect([await calls("carol", "c1"), await calls("alice", "a1")]).toEqual([1, 2]);
  expect(state(set)?.instances).toBe(2);
});

test("beyond maxInstances the instance of a caller without sessions is kept for a minute after its last call", async () => {
  const clock = stillClock();
  await using set = upstreams([fake("a", [], { maxInstances: 2 })], { clock });
  const calls = async (who: string) => jsonOf(await set.ask("a", "count", {}, { who: principal(who) })).calls;
  expect([await calls("alice"), await calls("bob")]).toEqual([1, 1]);
  clock.advance(40_000);
  expect(await calls("alice")).toBe(2);
  const failure = await rejectionOf(calls("carol"));
  expect([failure.code, failure.detail.retryAfterMs]).toEqual(["overloaded", 20_000]);
  clock.advance(20_000);
  expect([await calls("carol"), await calls("alice")]).toEqual([1, 3]);
  expect((await rejectionOf(calls("bob"))).detail.retryAfterMs).toBe(60_000);
});

test.each(["task", "input_required"])(
  "beyond maxInstances an instance that gave a caller without sessions a result of type %s is kept for idleStop",
  async (resultType) => {
    const clock = stillClock();
    await using set = upstreams([fake("a", ["--era", "modern"], { maxInstances: 1 })], { clock });
    const ask = (who: string, tool: string, args: object) =>
      set.ask("a", tool, args, { who: principal(who), era: "modern", declares: { extensions: { "com.acme/x": {} } } });
    await ask("alice", "spell", { as: "#", result: { resultType, taskId: "1" } });
    clock.advance(60_000);
    const failure = await rejectionOf(ask("carol", "count", {}));
    expect([failure.code, failure.detail.retryAfterMs]).toEqual(["overloaded", 540_000]);
    clock.advance(540_000);
    expect(jsonOf(await ask("carol", "count", {})).calls).toBe(1);
  },
);

test("a caller's idle sessions block neither others nor itself; instances in use are kept", async () => {
  await using set = upstreams([fake("a", [], { maxInstances: 4 })]);
  const asks = { elicitation: {} };
  const calls = async (who: string, session: string) =>
    jsonOf(await set.ask("a", "count", {}, { who: principal(who), session, declares: asks })).calls;
  for (const session of ["s1", "s2", "s3", "s4", "s5"]) expect(await calls("alice", session)).toBe(1);
  // Each further session replaced the one that had been idle longest, so s3 still exists and s1 starts again.
  expect(await calls("alice", "s3")).toBe(2);
  expect(await calls("alice", "s1")).toBe(1);
  // Bob gets his share of two, then replaces his own.
  for (const session of ["b1", "b2", "b3"]) expect(await calls("bob", session)).toBe(1);
  expect([await calls("alice", "s1"), await calls("alice", "s3")]).toEqual([2, 3]);
  expect([await calls("bob", "b3"), await calls("bob", "b1")]).toEqual([2, 1]);
  expect(state(set)?.instances).toBe(4);
});

test("beyond maxInstances no instance in use is ended, not even for its own caller", async () => {
  await using set = upstreams([fake("a", [], { maxInstances: 2 })]);
  const controller = new AbortController();
  const own = ["s1", "s2"].map((session) => ({ session, declares: { roots: {} } }));
  for (const more of own) await set.ask("a", "echo", {}, more);
  const hung = own.map((more) => rejectionOf(set.ask("a", "hang", {}, { ...more, controller })));
  await until(() => state(set)?.inFlight === 2, "both to be in use");
  for (const who of ["alice", "bob"]) {
    const failure = await rejectionOf(set.ask("a", "echo", {}, { who: principal(who) }));
    expect([failure.code, failure.detail.retryAfterMs]).toEqual(["overloaded", 1_000]);
  }
  controller.abort();
  await Promise.all(hung);
  await set.ask("a", "echo", {}, { who: principal("bob") });
  expect(state(set)?.instances).toBe(2);
});

test("a quarter of maxInstances is left to others, however many sessions of one caller are in use", async () => {
  await using set = upstreams([fake("a", [], { maxInstances: 4 })]);
  const controller = new AbortController();
  const own = ["s1", "s2", "s3"].map((session) => ({ session, declares: { roots: {} } }));
  for (const more of own) await set.ask("a", "echo", {}, more);
  const hung = own.map((more) => rejectionOf(set.ask("a", "hang", {}, { ...more, controller })));
  await until(() => state(set)?.inFlight === 3, "all to be in use");
  const more = { session: "s4", declares: { roots: {} } };
  const failure = await rejectionOf(set.ask("a", "echo", {}, more));
  expect([failure.code, failure.detail.retryAfterMs]).toEqual(["overloaded", 1_000]);
  expect(failure.message).toContain("all 3 of its 4 instances that one caller may have are in use");
  const bob = async () => jsonOf(await set.ask("a", "count", {}, { who: principal("bob") })).calls;
  expect(await bob()).toBe(1);
  // If one of the caller's own is idle, that one is ended, and never another caller's idle one.
  controller.abort();
  await Promise.all(hung);
  await set.ask("a", "echo", {}, more);
  expect(await bob()).toBe(2);
  expect(state(set)?.instances).toBe(4);
});

/** Returns the maximum number of processes that ran at the same time. */
function maxAtOnce({ events }: Harness): number {
  let most = 0;
  let running = 0;
  for (const { type } of events) {
    running += Number(type === "server.started") - Number(type === "server.stopped");
    most = Math.max(most, running);
  }
  return most;
}

test("an instance that is slow to end counts toward maxInstances: the next one starts after it", async () => {
  await using set = await listed([fake("a", ["--mode", "stubborn"], { maxInstances: 1 })]);
  const own = (session: string) => ({ session, declares: { roots: {} } });
  for (const session of ["s1", "s2", "s3"]) {
    expect(jsonOf(await set.ask("a", "count", {}, own(session))).calls).toBe(1);
    expect(state(set)?.instances).toBe(1);
    set.endSession(session);
  }
  const given = rejectionOf(set.ask("a", "echo", {}, own("s4")));
  set.endSession("s4");
  expect((await given).message).toContain("it was stopped");
  await set.ask("a", "echo", {}, own("s5"));
  // One of them is the gateway's own.
  expect(maxAtOnce(set)).toBe(2);
  expect(set.events.filter(({ type }) => type === "server.started")).toHaveLength(5);
});

const ends: [how: string, end: (set: Harness, pid: number) => unknown][] = [
  ["restart", (set) => void set.restart("a")],
  ["failure", (_, pid) => process.kill(pid, "SIGKILL")],
];

test.each(ends)(
  "after a %s, a process starts only after its predecessor has ended, and others need not wait",
  async (how, end) => {
    const tuning = { breaker: { ...quick.breaker, first: 0 }, patience: { close: 500, term: 1_000 } };
    await using set = await listed([fake("a", ["--mode", "stubborn"], { maxInstances: 2 })], { tuning });
    const count = async (who: string) => jsonOf(await set.ask("a", "count", {}, { who: principal(who) })).calls;
    expect(await count("alice")).toBe(1);
    const [, old = 0] = state(set)?.pids ?? [];
    end(set, old);
    if (how === "failure") await until(() => state(set)?.down.length, "the crash");
    expect(await Promise.all([count("alice"), count("bob")])).toEqual([1, 1]);
    const next = state(set)?.pids.at(-2);
    // The gateway's own, Alice's and Bob's.
    expect(maxAtOnce(set)).toBe(3);
    const lives = set.events.flatMap(({ type, facts }) => ("pid" in facts ? `${facts.pid} ${type}` : []));
    const [began = 0, ended = 0] = [`${next} server.started`, `${old} server.stopped`].map((one) => lives.indexOf(one));
    expect([began > ended, lives[2]?.endsWith("started")]).toEqual([true, true]);
  },
);

const tasks = { extensions: { "io.modelcontextprotocol/tasks": {} } };
const watch = { server: "a", taskIds: ["t-1"], changed: () => {}, lost: () => {} };
const followed: [string, "legacy" | "modern", (set: ReturnType<typeof upstreams>) => Promise<() => void>][] = [
  ["a subscription", "legacy", (set) => set.follow("a", "test://1", () => {})],
  ["a subscription", "modern", (set) => set.follow("a", "test://1", () => {}, "modern")],
  [
    "a task",
    "modern",
    async (set) => (await set.followTasks(callTo("x", {}, { era: "modern", declares: tasks }), watch)).end,
  ],
];

test.each(followed)("an instance whose caller follows %s is not idle (%s)", async (_what, era, follow) => {
  const clock = stillClock();
  const options = { ...fake("a", ["--rich", "--era", era]), healthCheck: 20 };
  await using set = upstreams([options], { clock });
  // A health check may take as long as the interval between two.
  options.healthCheck = 10_000;
  const calls = async (who: string) => jsonOf(await set.ask("a", "count", {}, { who: principal(who), era })).calls;
  expect([await calls("alice"), await calls("bob")]).toEqual([1, 1]);
  await follow(set);
  clock.advance(options.idleStop + 1);
  await until(() => state(set)?.instances === 1, "the idle one to be stopped");
  expect(await calls("alice")).toBe(2);
});

test.each(followed)(
  "an instance whose caller followed %s is idle from the end of that (%s)",
  async (_what, era, follow) => {
    const clock = stillClock();
    const options = fake("a", ["--rich", "--era", era], { maxInstances: 1 });
    await using set = await listed([options], { clock });
    const calls = async (who: string) => jsonOf(await set.ask("a", "count", {}, { who: principal(who), era })).calls;
    expect(await calls("alice")).toBe(1);
    const streams = state(set)?.streams;
    const end = await follow(set);
    clock.advance(options.idleStop + 1);
    end();
    await until(() => state(set)?.streams === streams, "the end of the stream");
    expect((await rejectionOf(calls("carol"))).detail.retryAfterMs).toBe(60_000);
    expect(await calls("alice")).toBe(2);
  },
);
