import { expect, spyOn, test } from "bun:test";
import { existsSync } from "node:fs";
import { rejectionOf } from "../support/failure.ts";
import { greets, opens, refusal, serve } from "../support/mcp-server.ts";
import { fake, http, listed, quick, upstreams } from "../support/upstream.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

const state = (set: ReturnType<typeof upstreams>) => set.status()[0];

test("an operator's restart replaces the process", async () => {
  await using set = await listed([fake("a")]);
  const before = state(set)?.pids ?? [];
  expect(before).toHaveLength(1);
  await set.restart("a");
  expect(state(set)).toMatchObject({ state: "ready", restarts: 1 });
  expect(state(set)?.pids).toEqual([expect.any(Number)]);
  expect(state(set)?.pids).not.toEqual(before);
  expect(() => set.restart("nobody")).toThrow('no server "nobody"');
});

test("T11: the log of a server that stays down reports the outage and the open circuit once, not each attempt", async () => {
  await using set = await listed([fake("a", ["--mode", "crash-at-start"])]);
  const count = (type: string) => set.events.filter((event) => event.type === type).length;
  await until(() => count("server.started") > 7, "attempts of the open circuit");
  const told = set.warnings.filter((line) => line.startsWith("a server is not available"));
  expect([told.length, count("server.circuit-open")]).toEqual([2, 1]);
});

test("T11: an open circuit is recorded when it opens, and not again if the server runs in between", async () => {
  const breaker = { first: 1, most: 1, failures: 2, window: 60_000, rest: 1 };
  await using set = await listed([fake("a")], { tuning: { breaker } });
  const count = (type: string) => set.events.filter((event) => event.type === type).length;
  for (let crash = 1; crash <= 4; crash++) {
    await until(() => state(set)?.state === "ready", `run ${crash}`);
    process.kill(state(set)?.pids[0] ?? Number.NaN, "SIGKILL");
    await until(() => count("server.crashed") === crash, `crash ${crash}`);
  }
  expect(count("server.circuit-open")).toBe(1);
});

test("a server that is started again keeps the reason of its last failure until it is ready", async () => {
  const [asked, answer] = [Promise.withResolvers<unknown>(), Promise.withResolvers<Response>()];
  let attempts = 0;
  using server = serve(({ method, id }) => {
    if (method !== "initialize") return null;
    if (attempts++ === 0) return refusal(id, -32603, "no licence");
    asked.resolve(id);
    return answer.promise;
  });
  await using set = upstreams([http("a", server.url, { protocol: "legacy" })]);
  const id = await asked.promise;
  expect(state(set)).toMatchObject({ state: "starting", reason: expect.stringContaining("no licence") });
  expect(set.listings()[0]?.reason).toContain("no licence");
  answer.resolve(greets(id));
  await until(() => state(set)?.state === "ready", "the handshake");
  expect(state(set)?.reason).toBeNull();
});

test("a restart waits for a process that was given up earlier to end, and does not start another beside it", async () => {
  const tuning = { breaker: { ...quick.breaker, first: 60_000, most: 60_000 }, patience: { close: 0, term: 1_000 } };
  await using set = await listed([fake("a", ["--mode", "stubborn"], { healthCheck: 500 })], { tuning });
  const [pid] = state(set)?.pids ?? [];
  if (!pid) throw new Error("it does not run");
  process.kill(pid, "SIGSTOP");
  await until(() => state(set)?.state === "backoff", "the failed health check");
  await set.restart("a");
  const lives = set.events.map(({ type }) => type);
  expect(lives).toEqual(["server.started", "server.crashed", "server.stopped", "server.started"]);
});

/** Lists its tools but not its prompts, creates a file once it is asked for both, and ends only when killed. */
const sullen = `trap "" TERM
answer() { read -r _; echo '{"jsonrpc":"2.0","id":'$1',"result":'$2'}'; }
answer 1 '{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"prompts":{}}}'
read -r _; answer 3 '{"tools":[]}'; read -r _; : >"$0"
cat >/dev/null; while :; do sleep 0.05; done`;

test("a process that a restart interrupts during its listing ends before a call starts the next one", async () => {
  using dir = new TempDir();
  const asked = dir.path("asked");
  const tuning = { patience: { close: 50, term: 500 } };
  await using set = upstreams([{ ...fake("a"), command: "sh", args: ["-c", sullen, asked] }], { tuning });
  await until(() => existsSync(asked), "the listing");
  void set.restart("a");
  // In the next turn the listing has ended.
  await Bun.sleep(0);
  void set.ask("a", "echo").catch(() => {});
  const lives = (): string[] => set.events.map(({ type }) => type);
  await until(() => lives().includes("server.stopped"), "its end");
  // The other one before that is the caller's.
  expect(lives().slice(0, 3)).toEqual(["server.started", "server.started", "server.stopped"]);
});

/** A server whose sessions end only once `release` is called, as does its handshake number `silent`. */
function slowToEnd({ silent = 0 } = {}) {
  const { promise, resolve: release } = Promise.withResolvers<void>();
  const server = serve(async ({ method, id }, { method: verb }) => {
    const hangs = method === "initialize" && server.of(method).length === silent;
    if (verb === "DELETE" || hangs) await promise;
    return method === "initialize" ? opens(id, "s") : null;
  });
  const ending = () => until(() => server.seen.some(({ verb }) => verb === "DELETE"), "the end to begin");
  return { server, ending, release };
}

test("a server that is removed during its restart is not started again", async () => {
  const { server, ending, release } = slowToEnd();
  using _ = server;
  const old = await listed([http("a", server.url)]);
  const restarted = old.restart("a");
  await ending();
  await using next = upstreams([], { previous: old });
  const drained = next.drainPrevious(0);
  await until(() => state(old)?.state === "stopping", "the removal");
  release();
  await Promise.all([restarted, drained]);
  expect(server.of("initialize").length).toBe(1);
  expect(state(old)?.state).toBe("stopping");
});

test("an instance whose start is interrupted by a restart does not count as crashed", async () => {
  const { server, ending, release } = slowToEnd({ silent: 2 });
  using _ = server;
  await using set = await listed([http("a", server.url, { protocol: "legacy" })]);
  const failed = rejectionOf(set.ask("a", "echo"));
  await until(() => server.of("initialize").length === 2, "the start of the caller's instance");
  const restarted = set.restart("a");
  await ending();
  // Its start has ended while the restart is still waiting for the gateway's own session to end.
  expect((await failed).message).toContain("it was stopped");
  release();
  await restarted;
  expect(set.events.filter(({ type }) => type === "server.crashed")).toEqual([]);
  expect(state(set)).toMatchObject({ restarts: 1, down: [] });
});

test("a session that is slow to end, unlike a process, does not delay calls", async () => {
  const { server, ending, release } = slowToEnd();
  using _ = server;
  await using set = await listed([http("a", server.url, { protocol: "legacy" })]);
  await set.ask("a", "echo");
  const restarted = set.restart("a");
  await ending();
  await set.ask("a", "echo");
  expect(server.of("tools/call").length).toBe(2);
  release();
  await restarted;
});

test("concurrent restarts leave one regular health check, which ends with the server", async () => {
  const { server, ending, release } = slowToEnd();
  using _ = server;
  using made = spyOn(globalThis, "setInterval");
  using ended = spyOn(globalThis, "clearInterval");
  const healthCheck = 123_456;
  const set = await listed([{ ...http("a", server.url), healthCheck }]);
  const restarted = [set.restart("a"), set.restart("a")];
  await ending();
  release();
  await Promise.all(restarted);
  expect(state(set)?.state).toBe("ready");
  const checks = (): unknown[] =>
    made.mock.results.filter((_, at) => made.mock.calls[at]?.[1] === healthCheck).map(({ value }) => value);
  const left = (): unknown[] => checks().filter((check) => !ended.mock.calls.some(([one]) => one === check));
  expect(left().length).toBe(1);
  await set.close(0);
  expect(left()).toEqual([]);
});
