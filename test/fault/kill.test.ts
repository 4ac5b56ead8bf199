import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, cpSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { alive, commandOf, pidsWith } from "../support/processes.ts";
import { type Daemon, everything, fake, Place, start, strongKey } from "../support/daemon.ts";
import { until } from "../support/until.ts";
import { type AuditRecord, pick, request, v2025, toolCall } from "../support/wire.ts";

// kill -9 at any moment: no acknowledged record is missing, the chain verifies, running calls show as lost, no child
// survives.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const rounds = Number(process.env["MCPGW_FAULT_ROUNDS"] ?? 5);
const callers = 16;
const fixture = join(import.meta.dir, "../fixtures/fakemcp.ts");

/** A server behind a shell that ignores SIGTERM and leaves a grandchild in its own session, like npx. */
const wrapped = {
  id: "wrapped",
  command: "sh",
  args: ["-c", '"$0" "$1" --mode stubborn; :', process.execPath, fixture],
  // Otherwise an extra process would detect the era, and it takes as long to end.
  protocol: "legacy",
};
const config = { servers: [fake("fake")], policies: [everything()] };

type Load = { readonly daemon: Daemon; readonly onAck: () => void; killed: boolean };

/** Sends calls, each with its own id, until the daemon is gone. Resolves to the ids that were answered. */
async function callUntilGone(load: Load, key: string, prefix: string): Promise<string[]> {
  const acked: string[] = [];
  for (let i = 0; ; i++) {
    const id = `${prefix}-${i}`;
    const sent = load.daemon.post(toolCall("fake__echo", { id }, id), { key, headers: v2025 });
    const answer = await sent.catch((error: unknown) => {
      if (load.killed) return null;
      throw error;
    });
    if (!answer) return acked;
    expect([answer.status, pick(answer.json, "id")]).toEqual([200, id]);
    acked.push(id);
    load.onAck();
  }
}

/** Loads a daemon with calls and kills it after a random number of answers. */
async function killUnderLoad(place: Place, keys: readonly string[], round: number): Promise<string[]> {
  await using daemon = await place.start();
  const after = 1 + Math.floor(Math.random() * 300);
  let acks = 0;
  const onAck = (): void => {
    if (++acks !== after) return;
    load.killed = true;
    daemon.child.kill("SIGKILL");
  };
  const load: Load = { daemon, onAck, killed: false };
  const running = Array.from({ length: callers }, (_, caller) =>
    callUntilGone(load, keys[caller % keys.length] ?? "", `r${round}-c${caller}`),
  );
  const acked = (await Promise.all(running)).flat();
  await daemon.child.exited;
  const run = place.run();
  await until(() => pidsWith(run).length === 0, `round ${round}: no child survives`);
  return acked;
}

/** Returns the end records of each call that has begun, by its JSON-RPC id. */
function ledger(records: readonly AuditRecord[]) {
  const begins = records.filter(({ type }) => type === "call.begin");
  const ends = Map.groupBy(
    records.filter(({ type }) => type === "call.end" || type === "call.lost"),
    ({ call }) => call,
  );
  return new Map(begins.map((begin) => [begin.rpc, ends.get(begin.call) ?? []]));
}

test(
  `T01, P1–P3: ${rounds} × kill -9 under ${callers} callers: every answered call is recorded, every call sent to a server has its intent recorded`,
  async () => {
    using place = new Place(config);
    const keys: string[] = [];
    for (const name of ["a", "b", "c", "d"]) keys.push(await place.key(name));
    const acked: string[] = [];
    for (let round = 0; round < rounds; round++) {
      acked.push(...(await killUnderLoad(place, keys, round)));
      expect([0, 3]).toContain((await place.cli(["audit", "verify"])).code);
    }
    await using last = await place.start();
    expect((await last.get("/ready")).status).toBe(200);
    const calls = ledger(await place.records());
    for (const id of acked) {
      expect([id, calls.get(JSON.stringify(id))]).toMatchObject([id, [{ type: "call.end", st: "ok" }]]);
    }
    for (const { method, params } of place.heard("fake")) {
      if (method !== "tools/call") continue;
      const id = JSON.stringify(pick(params, "arguments.id"));
      expect([id, calls.has(id)]).toEqual([id, true]);
    }
    // Every intent has exactly one ending: calls in flight are lost, and recorded as lost once.
    for (const [id, ends] of calls) expect([id, ends.length]).toEqual([id, 1]);
    expect([0, 3]).toContain((await place.cli(["audit", "verify"])).code);
  },
  60_000 + rounds * 10_000,
);

/** Returns both kinds of children of a daemon that will be killed; all carry the mark of its run. */
async function family(place: Place): Promise<{ run: string; pids: number[] }> {
  const run = place.run();
  const pids = await until(() => {
    const found = pidsWith(run);
    // The shell, the server under it, the server's shell, its double fork; and the plain server.
    return found.some((pid) => commandOf(pid) === "sleep 61") && found.length >= 6 ? found : null;
  }, "the whole tree runs");
  return { run, pids };
}

const withFamily = { servers: [fake("fake", [], { isolation: "shared" }), wrapped], policies: [everything()] };

// These three tests wait for processes that ignore SIGTERM.
test.concurrent("T01: kill -9 of the daemon ends every child, grandchild and double fork within 5 s", async () => {
  await using daemon = await start(withFamily);
  const { run, pids } = await family(daemon.place);
  await daemon.stop("SIGKILL");
  // A process that is ending no longer shows its environment, but still exists for a moment.
  await until(() => pidsWith(run).length === 0 && !pids.some(alive), "none is left");
});

test.concurrent("T01: if the reaper died too, the next start ends the remaining processes", async () => {
  using place = new Place(withFamily);
  await using daemon = await place.start();
  const { run, pids } = await family(place);
  const mark = run.split("=")[1] ?? "";
  const reapers = pidsWith("PATH=").filter((pid) => commandOf(pid).includes(`__reaper ${mark}`));
  expect(reapers).toHaveLength(1);
  // Stopped first, so that the daemon cannot replace the reaper.
  process.kill(daemon.pid, "SIGSTOP");
  for (const pid of reapers) process.kill(pid, "SIGKILL");
  await daemon.stop("SIGKILL");
  expect(pids.filter(alive).length).toBeGreaterThan(0);
  await using next = await place.start();
  expect(pidsWith(run)).toEqual([]);
  expect((await next.get("/ready")).status).toBe(200);
});

test.concurrent("T17, R114: SIGTERM ends the same tree too, and waits for it", async () => {
  await using daemon = await start(withFamily);
  const { run } = await family(daemon.place);
  expect(await daemon.stop("SIGTERM")).toBe(0);
  expect(pidsWith(run)).toEqual([]);
});

test("T01: a gateway on a copy of another running gateway's state leaves that gateway's servers and calls alone", async () => {
  await using original = await start(config);
  const { place } = original;
  const key = await place.key("alice");
  const hung = original.call("fake__hang", {}, key, "hung").catch(() => null);
  await until(() => place.calls("fake").includes("hang"), "the call runs");
  const pids = pidsWith(place.run());
  using copy = new Place(config);
  for (const name of ["main.run", "mcpgw.db", "mcpgw.db-wal", "signing.key", "audit"]) {
    cpSync(join(place.state, name), join(copy.state, name), { recursive: true });
  }
  chmodSync(copy.state, 0o700);
  await using trial = await copy.start();
  expect(trial.log.find(({ msg }) => msg.includes("its servers are left alone"))).toMatchObject({
    level: "warn",
    pid: original.pid,
  });
  expect([pids.length > 0, pids.filter((pid) => !alive(pid))]).toEqual([true, []]);
  expect((await trial.call("fake__echo", {}, key)).status).toBe(200);
  await original.stop("SIGKILL");
  await hung;
});

test("T01: a call in flight at a kill -9 is reported as lost after the next start, with the details of its begin record", async () => {
  using own = new Place(config);
  const key = await own.key("alice");
  {
    await using daemon = await own.start();
    const hung = daemon.call("fake__hang", {}, key, "hung").catch(() => null);
    await until(() => own.calls("fake").includes("hang"), "the call runs");
    await daemon.stop("SIGKILL");
    await hung;
  }
  await using _next = await own.start();
  const lost = (await own.records()).filter(({ type }) => type === "call.lost");
  expect(lost).toMatchObject([
    { st: "lost", consumer: "alice", srv: "fake", tool: "hang", reason: expect.stringContaining("may have run") },
  ]);
});

/** Runs a daemon, kills it and deletes one database, leaving its journal. */
async function killAndLose(place: Place, database: string, act: (daemon: Daemon) => Promise<unknown>): Promise<void> {
  await using daemon = await place.start();
  await act(daemon);
  await daemon.stop("SIGKILL");
  expect(existsSync(join(place.state, `${database}-wal`))).toBe(true);
  rmSync(join(place.state, database));
}

test("T01: a database deleted after a kill is not rebuilt from its journal: a revoked key stays revoked, and verify reports a lost chain", async () => {
  const [old, current] = [strongKey(), strongKey()];
  const keys = Object.entries({ old, current }).map(([id, key]) => ({ id, key, consumerId: id, roles: ["user"] }));
  using own = new Place({ ...config, auth: { keys } });
  {
    await using daemon = await own.start();
    await own.json("keys", "revoke", "old");
    await Promise.all(Array.from({ length: 20 }, (_, i) => daemon.call("fake__echo", { i }, current)));
  }
  await killAndLose(own, "mcpgw.db", async () => {
    await own.json("keys", "freeze");
    await own.json("keys", "unfreeze");
  });
  await killAndLose(own, "audit/main.db", async (daemon) => {
    expect((await daemon.post(request("ping"), { key: old })).status).toBe(401);
    expect((await daemon.post(request("ping"), { key: current })).status).toBe(200);
  });
  const refused = await own.cli(["daemon", "--listen", "127.0.0.1:0"]);
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("audit chain main was moved back") });
  const verified = await own.cli(["audit", "verify"]);
  expect(verified).toMatchObject({ code: 1, stdout: expect.stringContaining("TAMPERED") });
});
