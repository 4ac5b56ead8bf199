import { expect, test } from "bun:test";
import { getEventListeners } from "node:events";
import { writeFileSync } from "node:fs";
import type { Failure } from "../../src/core/failure.ts";
import type { LocalServer } from "../../src/core/ports.ts";
import { emptyListing } from "../../src/core/upstream.ts";
import { stdioOptions } from "../../src/upstream/options.ts";
import { rejectionOf } from "../support/failure.ts";
import { greets, reply, serve } from "../support/mcp-server.ts";
import {
  builtin,
  callTo,
  fake,
  http,
  jsonOf,
  listed,
  memoryLists,
  requestTo,
  textOf,
  upstreams,
} from "../support/upstream.ts";
import { makeRoute, makeTool, asBegun } from "../support/call.ts";
import { principal } from "../support/principal.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

const state = (set: ReturnType<typeof upstreams>, id = "a") => set.status().find((one) => one.id === id);

test("R19, T10: a crash is followed by a restart after a pause; other servers are not affected", async () => {
  await using set = await listed([fake("a"), fake("b")]);
  const [pid] = state(set)?.pids ?? [];
  const other = state(set, "b")?.pids;
  process.kill(pid ?? 0, "SIGKILL");
  await until(() => state(set)?.state === "backoff", "backoff");
  expect(state(set)?.reason).toContain("SIGKILL");
  expect(set.listings().find(({ server }) => server === "a")).toMatchObject({ stale: true });
  expect(set.listings()[0]?.tools.length).toBeGreaterThan(5);
  await until(() => state(set)?.state === "ready", "ready again");
  expect(state(set)?.restarts).toBe(1);
  expect(state(set, "b")?.pids).toEqual(other ?? []);
});

test("T10, R113: a caller whose instance crashed waits out a pause, other callers do not", async () => {
  await using set = upstreams([fake("a")], {
    tuning: { breaker: { first: 400, most: 400, failures: 9, window: 5_000, rest: 1 } },
  });
  const [alice, bob] = [principal("alice"), principal("bob")];
  await set.ask("a", "echo", {}, { who: bob });
  expect((await rejectionOf(set.ask("a", "crash", {}, { who: alice }))).code).toBe("lost");
  const failure = await rejectionOf(set.ask("a", "echo", {}, { who: alice }));
  expect(failure.code).toBe("upstream-down");
  expect(failure.detail.retryAfterMs).toBeGreaterThan(0);
  await set.ask("a", "echo", {}, { who: bob });
  await until(() => set.ask("a", "echo", {}, { who: alice }).catch(() => null), "alice's new instance");
});

test("T10: crashes of callers' instances are counted, shown with their reason, logged and recorded, and open the circuit", async () => {
  await using set = await listed([fake("a")], {
    tuning: { breaker: { first: 1, most: 1, failures: 3, window: 60_000, rest: 60_000 } },
  });
  const who = principal("alice");
  await set.ask("a", "echo", {}, { who: principal("bob") });
  for (let crash = 1; crash <= 3; crash++) {
    const failed = () => set.ask("a", "crash", {}, { who }).catch((error: Failure) => error.code === "lost" || null);
    await until(failed, `crash ${crash}`);
    await until(() => state(set)?.restarts === crash, "it to be counted");
  }
  expect((await rejectionOf(set.ask("a", "echo", {}, { who }))).code).toBe("upstream-down");
  await until(() => state(set)?.instances === 1, "what the third one left behind to end");
  // First, because Bun's toMatchObject puts its matchers into its argument.
  expect(state(set)?.reason).toMatch(/^one caller's instance is down until 20\d\d-.*: .*code 7/);
  const down = { owner: "alice", open: true, reason: expect.stringContaining("code 7") };
  expect(state(set)).toMatchObject({ state: "ready", instances: 1, down: [down] });
  // Both are epoch ms: the server was listed a moment ago, and the circuit stays open for a little over a minute.
  const sinceListed = Date.now() - (state(set)?.listedAt ?? 0);
  const rests = (state(set)?.down[0]?.until ?? 0) - Date.now();
  expect([sinceListed >= 0 && sinceListed < 60_000, rests > 0 && rests <= 72_000]).toEqual([true, true]);
  expect(set.warnings.filter((line) => line.includes('"principal":"alice"'))).toHaveLength(3);
  const noted = (type: string) => set.events.filter((event) => event.type === type).map(({ facts }) => facts);
  const facts = { server: "a", principal: "alice", reason: expect.stringContaining("code 7") };
  expect(noted("server.crashed")).toMatchObject([facts, facts, facts]);
  expect(noted("server.circuit-open")).toMatchObject([facts]);
  // An operator's restart forgets them.
  await set.restart("a");
  expect(state(set)).toMatchObject({ state: "ready", reason: null, down: [] });
  await set.ask("a", "echo", {}, { who });
});

test("T10: an instance that is running again is no longer reported as down", async () => {
  await using set = upstreams([fake("a", [], { isolation: "shared" })]);
  await rejectionOf(set.ask("a", "crash"));
  await until(() => state(set)?.reason?.startsWith("the shared instance is down"), "the reason");
  await until(() => set.ask("a", "echo").catch(() => null), "its restart");
  expect(state(set)).toMatchObject({ reason: null, down: [], restarts: 1 });
});

test("T11: a crash loop opens the circuit, which lets one attempt through at a time", async () => {
  await using set = await listed([fake("a", ["--mode", "crash-at-start"])]);
  await until(() => state(set)?.state === "open-circuit", "the circuit to open");
  expect(state(set)?.reason).toContain("code 3");
  expect(set.events.filter(({ type }) => type === "server.circuit-open")).toMatchObject([{ facts: { server: "a" } }]);
  const starts = () => set.events.filter(({ type }) => type === "server.started").length;
  expect(starts()).toBe(5);
  const failure = await rejectionOf(set.ask("a", "echo"));
  expect(failure.code).toBe("upstream-down");
  expect(failure.detail.retryAfterMs).toBeGreaterThan(0);
  expect(starts()).toBe(5);
  await until(() => starts() === 6, "the probe");
  await until(() => state(set)?.state === "open-circuit", "the circuit to stay open");
  // An operator's restart forgets what came before it.
  await set.restart("a");
  expect(state(set)?.state).toBe("backoff");
});

test("T12: a suspended instance is detected after a timeout and replaced", async () => {
  await using set = await listed([fake("a", [], { timeout: "200ms", healthCheck: 100 })]);
  // A call may time out before its instance has started.
  const count = (what: string) => until(() => set.ask("a", "count").catch(() => null), what);
  const pid = Number(jsonOf(await count("an instance")).pid);
  process.kill(pid, "SIGSTOP");
  expect((await rejectionOf(set.ask("a", "echo"))).code).toBe("timeout");
  const next = await count("a new instance");
  expect(jsonOf(next).pid).not.toBe(pid);
});

test("T12: hung calls of one server do not slow another", async () => {
  await using set = upstreams([fake("a"), fake("b")]);
  await Promise.all([set.ask("a", "echo"), set.ask("b", "echo")]);
  const controller = new AbortController();
  const hung = Array.from({ length: 1_000 }, () => rejectionOf(set.ask("a", "hang", {}, { controller })));
  await set.ask("b", "echo");
  expect(state(set)?.inFlight).toBe(1_000);
  controller.abort();
  expect(new Set((await Promise.all(hung)).map(({ code }) => code))).toEqual(new Set(["cancelled"]));
  expect(state(set)?.inFlight).toBe(0);
});

test("R20, FIELD T30: a server that stops answering pings is restarted", async () => {
  await using set = await listed([fake("a", ["--mode", "no-ping"], { healthCheck: 60 })]);
  expect(state(set)?.state).toBe("ready");
  await until(() => set.events.some(({ type }) => type === "server.crashed"), "the failed ping");
});

test("FIELD T17: each principal has its own instance, so state is never shared", async () => {
  await using set = upstreams([fake("a")]);
  const count = async (who: string) => jsonOf(await set.ask("a", "count", {}, { who: principal(who) }));
  expect((await count("alice")).calls).toBe(1);
  expect((await count("alice")).calls).toBe(2);
  expect((await count("bob")).calls).toBe(1);
  expect(state(set)).toMatchObject({ instances: 2 });
});

test("isolation: shared gives all callers one instance", async () => {
  await using set = upstreams([fake("a", [], { isolation: "shared" })]);
  const first = jsonOf(await set.ask("a", "count", {}, { who: principal("alice") }));
  const second = jsonOf(await set.ask("a", "count", {}, { who: principal("bob") }));
  expect([first.calls, second.calls]).toEqual([1, 2]);
});

test("T42: an unused instance is stopped, as is the instance of a revoked key", async () => {
  await using set = upstreams([fake("a", [], { idleStop: "50ms", healthCheck: 30 })]);
  const who = principal("bob");
  await set.ask("a", "echo", {}, { who });
  await until(() => state(set)?.instances === 0, "the idle stop");
  // An ended instance leaves no listener on a key, which may live for years.
  await until(() => getEventListeners(who.revoked, "abort").length === 0, "nothing that waits for the key");
  await using other = await listed([fake("a")]);
  const alice = principal("alice");
  await other.ask("a", "echo", {}, { who: alice });
  const { instances, pids, ownPid } = state(other) ?? {};
  expect([instances, pids]).toEqual([1, [ownPid, expect.any(Number)]]);
  alice.revoke();
  await until(
    () => state(other)?.instances === 0 && state(other)?.pids.length === 1,
    "the revoked key's instance to end",
  );
});

test("T42: an unused instance is stopped after idleStop, even if health checks are rarer", async () => {
  const rare = { idleStop: "50ms", healthCheck: 3_600_000 };
  await using set = upstreams([fake("a", [], rare), fake("b", [], { ...rare, start: "on-demand" })]);
  await Promise.all([set.ask("a", "echo"), set.ask("b", "echo")]);
  await until(() => state(set)?.instances === 0 && state(set, "b")?.state === "idle", "the idle stop");
});

test("a server that cannot be reached by a call is marked down at once, not at the next health check", async () => {
  using server = serve(() => null);
  await using set = upstreams([http("a", server.url)]);
  await set.ask("a", "t");
  server[Symbol.dispose]();
  expect((await rejectionOf(set.ask("a", "t"))).code).toBe("upstream-down");
  await until(() => state(set)?.state === "backoff", "the server to be found down");
});

test("a server that starts at boot keeps running, however long nobody calls it", async () => {
  using server = serve(() => null);
  const options = { ...http("a", server.url, { idleStop: "10ms" }), healthCheck: 20 };
  await using set = upstreams([options]);
  // A check may take as long as the interval between two checks.
  options.healthCheck = 10_000;
  await until(() => server.of("ping").length > 3, "some health checks");
  expect([state(set)?.state, server.of("initialize").length]).toEqual(["ready", 1]);
});

test("a server that goes idle while its lists are read is not reported as lacking the unanswered ones", async () => {
  let times = 0;
  using server = serve(({ method, id }) => {
    if (method === "initialize") return greets(id, { tools: {}, prompts: {} });
    if (method !== "prompts/list") return null;
    // It is read when the server is listed, when it starts for a call, and then again.
    return ++times < 3 ? reply(id, { prompts: [] }) : new Promise(() => {});
  });
  const options = http("a", server.url, { protocol: "legacy", start: "on-demand", idleStop: "80ms" });
  await using set = await listed([{ ...options, healthCheck: 40, refresh: 20 }]);
  await set.ask("a", "t");
  await until(() => set.warnings.some((line) => line.includes("cannot be read")), "the end of the reading");
  expect(state(set)).toMatchObject({ state: "idle", reason: null });
});

test("an on-demand server is started once to be listed, then by calls; the stored list is there at once", async () => {
  const lists = memoryLists();
  const options = fake("a", [], { start: "on-demand", idleStop: "80ms", healthCheck: 40 });
  await using first = upstreams([options], { lists });
  await first.booted();
  expect(state(first)).toMatchObject({ state: "starting" });
  await first.settled();
  expect(state(first)).toMatchObject({ state: "idle", pids: [] });
  expect(first.listings()[0]?.tools.length).toBeGreaterThan(5);
  await first.ask("a", "echo");
  await until(() => state(first)?.state === "idle", "the server to rest again");
  expect(state(first)?.pids).toEqual([]);
  await using second = await listed([options], { lists });
  expect(second.listings()[0]).toMatchObject({ stale: true });
  expect(second.listings()[0]?.tools.length).toBeGreaterThan(5);
  expect(second.events).toEqual([]);
});

test("an on-demand server that is called while it is listed keeps running", async () => {
  await using set = upstreams([fake("a", [], { start: "on-demand" })]);
  await Promise.all([set.ask("a", "echo"), set.settled()]);
  expect(state(set)).toMatchObject({ state: "ready", instances: 1 });
});

test("the lists of an on-demand server stay while a caller has an instance of it", async () => {
  const onDemand = fake("a", [], { start: "on-demand", healthCheck: 20 });
  await using set = upstreams([onDemand, fake("b", ["--mode", "no-ping"], { healthCheck: 100 })]);
  await set.ask("a", "echo");
  await until(() => state(set)?.state === "ready", "its list");
  // Time passes.
  await until(() => set.events.some(({ type }) => type === "server.crashed"), "the failed ping of another");
  expect(state(set)).toMatchObject({ state: "ready", instances: 1 });
});

test("FIELD T53: a server whose first list fails is tried again, and its list arrives", async () => {
  using at = new TempDir();
  await using set = await listed([fake("a", [], { env: { FIRST_LIST: at.path("mark") } })]);
  expect(state(set)).toMatchObject({ state: "backoff", reason: expect.stringContaining("not yet") });
  await until(() => state(set)?.state === "ready", "the second attempt");
  expect(set.listings()[0]?.tools.length).toBeGreaterThan(5);
  // Nothing of the first attempt is still running.
  const pidsOf = (type: "server.started" | "server.stopped") =>
    set.events.flatMap((event) => (event.type === type && "pid" in event.facts ? [event.facts.pid] : []));
  const [first = 0] = pidsOf("server.started");
  await until(() => pidsOf("server.stopped").includes(first), "the end of the first attempt");
});

test("a list_changed notification makes the list be read and stored again", async () => {
  const lists = memoryLists();
  await using set = await listed([fake("a", ["--mode", "growing-list"], {})], { lists });
  const longer = Promise.withResolvers<void>();
  set.onChange(() => set.listings()[0]?.tools.length === 2 && longer.resolve());
  // The first list comes with a list_changed; the second list is longer.
  if (set.listings()[0]?.tools.length !== 2) await longer.promise;
  expect(lists.remembered.get("a")?.tools.length).toBe(2);
});

test("R112: the tools are listed at the refresh interval, however rare health checks are", async () => {
  await using set = upstreams([fake("a", ["--mode", "growing-list"], { refresh: 30 })]);
  await until(() => (set.listings()[0]?.tools.length ?? 0) >= 4, "the list to grow");
});

test("R112: a reload that changes only refresh changes the interval of a running server", async () => {
  const old = await listed([fake("a", ["--mode", "growing-list"])]);
  await using next = upstreams([fake("a", ["--mode", "growing-list"], { refresh: 30 })], { previous: old });
  await until(() => (next.listings()[0]?.tools.length ?? 0) >= 4, "the list to grow");
  expect(state(next)?.restarts).toBe(0);
});

test("R111: a reload that changes only healthCheck changes the interval of a running server", async () => {
  const old = await listed([fake("a", ["--mode", "no-ping"])]);
  await using next = upstreams([fake("a", ["--mode", "no-ping"], { healthCheck: 60 })], { previous: old });
  await until(() => next.events.some(({ type }) => type === "server.crashed"), "the failed ping");
});

test("a reload keeps the processes of unchanged servers, drains the others, and starts nothing before activate", async () => {
  const old = await listed([fake("keep"), fake("change"), fake("remove")]);
  const [kept, changed] = [state(old, "keep")?.pids ?? [], state(old, "change")?.pids ?? []];
  expect([kept, changed]).toEqual([[expect.any(Number)], [expect.any(Number)]]);
  await old.ask("remove", "echo");
  using at = new TempDir();
  const file = at.path("go-on");
  const running = old.ask("remove", "slow", { ms: 0, file });
  const next = await listed(
    [fake("keep", [], { timeout: "5s", tags: ["x"] }), fake("change", [], { env: { A: "1" } })],
    {
      previous: old,
    },
  );
  expect(state(next, "keep")?.pids).toEqual(kept);
  expect(state(next, "change")?.pids).toEqual([expect.any(Number)]);
  expect(state(next, "change")?.pids).not.toEqual(changed);
  const drained = next.drainPrevious(5_000);
  writeFileSync(file, "");
  expect(textOf(await running)).toContain("go-on");
  await drained;
  expect(state(old, "remove")?.pids).toEqual([]);
  await next.ask("keep", "echo");
  expect((await rejectionOf(next.ask("remove", "echo"))).code).toBe("upstream-down");
  await next.close(0);
});

test("a server disabled in the configuration is not started or listed, and a restart does not start it", async () => {
  await using set = await listed([fake("a", [], { enabled: false })]);
  expect(state(set)).toMatchObject({ state: "disabled", pids: [] });
  expect(set.listings()).toEqual([]);
  expect((await rejectionOf(set.ask("a", "echo"))).message).toContain("it is disabled");
  expect(set.restart("a")).rejects.toThrow("enable it first");
  expect(state(set)).toMatchObject({ state: "disabled", pids: [] });
});

test("a set that takes over brings each server to its configured state", async () => {
  const old = await listed([fake("a", [], { enabled: false }), fake("b")]);
  expect([state(old, "a")?.state, state(old, "b")?.state]).toEqual(["disabled", "ready"]);
  await using next = await listed([fake("a"), fake("b", [], { enabled: false })], { previous: old });
  await next.drainPrevious(0);
  expect([state(next, "a")?.state, state(next, "b")?.state]).toEqual(["ready", "disabled"]);
  expect(state(next, "b")?.pids).toEqual([]);
  expect(state(old, "b")?.pids).toEqual([]);
});

test("close waits for running calls, then nothing is left", async () => {
  const set = upstreams([fake("a")]);
  await set.ask("a", "echo");
  using at = new TempDir();
  const file = at.path("go-on");
  const running = set.ask("a", "slow", { ms: 0, file });
  const pids = state(set)?.pids ?? [];
  expect(pids).not.toEqual([]);
  const closed = set.close(2_000);
  writeFileSync(file, "");
  expect(textOf(await running)).toContain("go-on");
  await closed;
  for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow();
});

test("a shutdown does not wait for a child that never completes the handshake", async () => {
  // Longer than the test may take.
  const set = upstreams([stdioOptions.parse({ id: "a", command: "sleep", args: ["600"] })], {
    tuning: { start: 600_000 },
  });
  await until(() => set.events.length > 0, "the start");
  await set.close(0);
});

test("a local server answers without a process", async () => {
  const tool = makeTool("list_servers");
  const local: LocalServer = {
    id: "mcpgw",
    tools: [tool],
    call: async ({ who }, name, args) => ({
      kind: "result",
      era: "legacy",
      isError: false,
      type: null,
      text: JSON.stringify({ who: who.id, name, args }),
    }),
  };
  await using set = upstreams([], { local: [local] });
  expect(set.listings()).toEqual([{ ...emptyListing, server: "mcpgw", tools: [tool] }]);
  const reply = await set.send(
    asBegun(callTo("list_servers", { a: 1 }), makeRoute("mcpgw", "list_servers")),
    requestTo("list_servers"),
  );
  expect(JSON.parse(reply.text)).toEqual({ who: "alice", name: "list_servers", args: { a: 1 } });
});

test("a built-in server runs as a child of the same executable", async () => {
  await using set = await listed([builtin("calc")]);
  expect(state(set, "calc")).toMatchObject({ transport: "builtin", state: "ready" });
  const calls = ["alice", "bob"].map((who) => set.ask("calc", "count", {}, { who: principal(who) }));
  expect((await Promise.all(calls)).map((reply) => jsonOf(reply).calls)).toEqual([1, 2]);
});

test("a cancelled call that waits for a start ends at once", async () => {
  await using set = upstreams([stdioOptions.parse({ id: "a", command: "sleep", args: ["60"] })]);
  const controller = new AbortController();
  const failed = rejectionOf(set.ask("a", "echo", {}, { controller }));
  controller.abort();
  expect((await failed).code).toBe("cancelled");
});
