import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Daemon, everything, fake, Place, start, strongKey } from "../support/daemon.ts";
import { isRoot, noStrace, strace } from "../support/processes.ts";
import { linesOf } from "../support/seen.ts";
import { fill, canMount, mountTmpfs } from "../support/tmpfs.ts";
import { until } from "../support/until.ts";
import { pick, request, toolCall } from "../support/wire.ts";

// A log that cannot be written: calls are refused within 2 s, none passes unrecorded, and the log recovers by itself.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = { servers: [fake("fake")], policies: [everything()], audit: { payloads: "full" } };

/**
 * Mounts a small disk for a state directory. Removing its file `ballast` makes room for the log to be moved from its
 * journal to its database.
 */
function smallDisk() {
  const disk = mountTmpfs("24m");
  if (!disk) throw new Error("a file system that could be mounted before cannot be mounted now");
  const state = join(disk.dir, "state");
  const ballast = join(disk.dir, "ballast");
  mkdirSync(state, { mode: 0o700 });
  writeFileSync(ballast, new Uint8Array(16 * 1024 ** 2));
  return { ...disk, state, ballast };
}

/** Returns the calls without a begin record that the server received, by the id in their arguments. */
async function unrecorded(place: Place): Promise<unknown[]> {
  const begun = new Set((await place.records()).filter(({ type }) => type === "call.begin").map(({ rpc }) => rpc));
  const sent = place.heard("fake").filter(({ method }) => method === "tools/call");
  return sent.map(({ params }) => pick(params, "arguments.id")).filter((id) => !begun.has(JSON.stringify(id)));
}

/** Calls until a call is refused; resolves to that answer and how long it took. */
async function callUntilRefused(daemon: Daemon, key: string, args: Record<string, unknown>) {
  for (let i = 0; i < 500; i++) {
    const from = performance.now();
    const answer = await daemon.call("fake__echo", { ...args, id: `fill-${i}` }, key, `fill-${i}`);
    if (answer.status !== 200) return { answer, took: performance.now() - from };
  }
  throw new Error("the disk never filled up");
}

test.skipIf(!canMount())(
  "T04, P5: on a full disk calls get 503 in 2 s, none is unrecorded, and with space it continues (needs a tmpfs)",
  async () => {
    using disk = smallDisk();
    using place = new Place(config, { state: disk.state });
    await using daemon = await place.start();
    const key = await place.key("alice");
    const refused = () => callUntilRefused(daemon, key, { filler: "x".repeat(60_000) });
    const { answer, took } = await refused();
    expect(answer.status).toBe(503);
    expect(took).toBeLessThan(2500);
    expect(answer.headers.has("retry-after")).toBe(true);
    expect(answer.json).toMatchObject({ error: { code: -32603, data: { retryable: true } } });
    expect((await daemon.get("/ready")).status).toBe(503);
    expect((await daemon.get("/live")).status).toBe(200);
    const full = `the audit log cannot record: ${join(disk.state, "audit/main.db")}: database or disk is full`;
    // A short record may still fit, which ends the outage until the next long one.
    const isTold = async () => (await refused()) && (await place.cli(["status"])).stdout.includes(full);
    await until(isTold, "the status says why", 10_000);
    fill(join(disk.dir, "filler"));
    for (const read of ["audit log", "usage"]) expect(await place.cli(read.split(" "))).toMatchObject({ code: 0 });
    const made = await place.cli(["keys", "create", "new", "carol", "user"]);
    expect(made.stderr).toContain(`${join(disk.state, "mcpgw.db")}: database or disk is full`);
    rmSync(join(disk.dir, "filler"));
    rmSync(disk.ballast);
    await until(
      async () => (await daemon.call("fake__echo", { id: "again" }, key, "again")).status === 200,
      "it records again",
      10_000,
    );
    await until(async () => (await daemon.get("/ready")).status === 200, "it is ready again", 10_000);
    expect(await unrecorded(place)).toEqual([]);
    await daemon.stop();
    expect((await place.cli(["audit", "verify"])).code).toBe(0);
  },
  30_000,
);

test.skipIf(!canMount())(
  "T04, R23: on a full disk a freeze and a revoke apply at once, are reported as unrecorded, and recorded later (needs a tmpfs)",
  async () => {
    using disk = smallDisk();
    using place = new Place(config, { state: disk.state });
    await using daemon = await place.start();
    const [lost, kept] = [await place.newKey("alice"), await place.key("bob")];
    await callUntilRefused(daemon, kept, { filler: "x".repeat(60_000) });
    rmSync(join(disk.state, "ballast"));
    fill(join(disk.dir, "filler"));
    const revoked = await place.cli(["keys", "revoke", lost.id, "--json"]);
    expect({ code: revoked.code, answer: JSON.parse(revoked.stdout) as unknown }).toEqual({
      code: 0,
      answer: { id: lost.id, recorded: false },
    });
    expect(revoked.stderr).toContain("not yet recorded");
    expect((await daemon.post(request("ping"), { key: lost.key })).status).toBe(401);
    expect(await place.json("keys", "freeze")).toEqual({ frozen: true, recorded: false });
    expect((await daemon.post(request("ping"), { key: kept })).status).toBe(403);
    const { warnings } = (await place.json("status")) as { warnings: string[] };
    // Which of the two it still lacks depends on what the last checkpoint of the database left free.
    expect(warnings.join("\n")).toMatch(/took effect but are not recorded yet|in effect but not stored yet/);
    rmSync(join(disk.dir, "filler"));
    rmSync(disk.ballast);
    const types = async () => (await place.records()).map(({ type }) => type);
    await until(
      async () => (await types()).filter((type) => /key.(revoked|frozen)/.test(type)).length === 2,
      "owed",
      10_000,
    );
    const isStored = async () => !JSON.stringify(await place.json("status")).includes("not stored yet");
    await until(isStored, "the freeze is stored", 10_000);
    await daemon.stop("SIGKILL");
    await using next = await place.start();
    expect((await next.post(request("ping"), { key: kept })).status).toBe(403);
    expect(await place.json("keys", "list")).toMatchObject({ frozen: true });
    await next.stop();
    expect((await place.cli(["audit", "verify"])).code).toBe(0);
  },
  30_000,
);

test.skipIf(!canMount())("read-only commands work on a read-only file system (needs a tmpfs)", async () => {
  using disk = smallDisk();
  const keys = [{ id: "yaml", key: strongKey(), consumerId: "yaml", roles: ["user"] }];
  using place = new Place({ ...config, auth: { keys } }, { state: disk.state });
  const { id } = await place.newKey("alice");
  await place.cli(["keys", "revoke", id]);
  Bun.spawnSync(["mount", "-o", "remount,ro", disk.dir]);
  const listed = await place.cli(["keys", "list", "--json"]);
  expect(listed).toMatchObject({ code: 0, stderr: expect.stringContaining("is read-only") });
  expect(JSON.parse(listed.stdout)).toMatchObject({
    frozen: false,
    keys: [
      { id, state: "revoked" },
      { id: "yaml", state: "active" },
    ],
  });
  for (const args of ["audit log", "audit verify", "usage"]) expect((await place.cli(args.split(" "))).code).toBe(0);
  expect(await place.cli(["keys", "freeze"])).toMatchObject({ code: 1, stdout: "" });
});

test.skipIf(!canMount())(
  "T04, R23: a disk without a free byte still has room for a freeze, which survives an orderly restart (needs a tmpfs)",
  async () => {
    using disk = smallDisk();
    using place = new Place(config, { state: disk.state });
    await using daemon = await place.start();
    const { id, key } = await place.newKey("alice");
    await callUntilRefused(daemon, key, { filler: "x".repeat(60_000) });
    fill(join(disk.dir, "filler"));
    expect(await place.json("keys", "freeze")).toMatchObject({ frozen: true });
    expect(await place.json("keys", "revoke", id)).toMatchObject({ id });
    expect(JSON.stringify(await place.json("status"))).not.toContain("not stored yet");
    expect(await daemon.stop()).toBe(0);
    rmSync(join(disk.dir, "filler"));
    rmSync(disk.ballast);
    await using next = await place.start();
    expect((await next.post(request("ping"), { key })).status).toBe(403);
    expect(await place.json("keys", "list")).toMatchObject({ frozen: true, keys: [{ id, state: "revoked" }] });
  },
  30_000,
);

test("D6 onFailure allow: a freeze tells the caller of an unrecorded call that it may have run", async () => {
  await using daemon = await start({ ...config, audit: { onFailure: "allow" } });
  const { place } = daemon;
  const key = await place.key("alice");
  using log = new Database(join(place.state, "audit/main.db"));
  log.run("CREATE TRIGGER log_full BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'disk full'); END");
  const hung = daemon.post(toolCall("fake__hang", {}), { key });
  await until(() => place.calls("fake").length === 1, "the call runs");
  await place.json("keys", "freeze");
  const message = "All callers were frozen while the call ran. The call may have run: check before you repeat it.";
  expect((await hung).json).toMatchObject({ error: { message } });
});

test("R23: a stop tries once more, then reports which freeze and revocations are neither stored nor recorded", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const { id } = await place.newKey("alice");
  using keys = new Database(join(place.state, "mcpgw.db"));
  using log = new Database(join(place.state, "audit/main.db"));
  const full = "SELECT raise(ABORT, 'disk full')";
  keys.run(`CREATE TRIGGER key_full BEFORE UPDATE ON api_key BEGIN ${full}; END`);
  keys.run(`CREATE TRIGGER flag_full BEFORE INSERT ON flag BEGIN ${full}; END`);
  log.run(`CREATE TRIGGER log_full BEFORE INSERT ON audit BEGIN ${full}; END`);
  expect(await place.json("keys", "freeze")).toEqual({ frozen: true, recorded: false });
  expect(await place.json("keys", "revoke", id)).toEqual({ id, recorded: false });
  await daemon.stop();
  const errors = daemon.log.filter(({ level }) => level === "error");
  expect(errors).toContainEqual(
    expect.objectContaining({
      msg: "a freeze and 1 revocations took effect but could not be stored: they end with this process",
    }),
  );
  expect(errors).toContainEqual(
    expect.objectContaining({ msg: expect.stringContaining("missing from the log"), acts: 2 }),
  );
});

test("R23: a freeze and a revoke apply, are reported and are stored later, even if no disk space can be freed for them", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const { id } = await place.newKey("alice");
  const ballast = join(place.state, "ballast");
  rmSync(ballast);
  mkdirSync(ballast);
  using keys = new Database(join(place.state, "mcpgw.db"));
  for (const write of ["UPDATE ON api_key", "INSERT ON flag"])
    keys.run(`CREATE TRIGGER full_${write.slice(0, 6)} BEFORE ${write} BEGIN SELECT raise(ABORT, 'disk full'); END`);
  expect(await place.json("keys", "revoke", id)).toEqual({ id, recorded: false });
  expect(await place.json("keys", "freeze")).toEqual({ frozen: true, recorded: false });
  expect(JSON.stringify(await place.json("status"))).toContain("in effect but not stored yet");
  for (const write of ["UPDATE", "INSERT"]) keys.run(`DROP TRIGGER full_${write}`);
  const isStored = async () => !JSON.stringify(await place.json("status")).includes("not stored yet");
  await until(isStored, "both are stored", 10_000);
});

test("R23: a revocation that was recorded but not stored before a kill -9 applies after it, however late the checkpoint", async () => {
  const secret = strongKey();
  const keys = [{ id: "yaml", key: secret, consumerId: "yaml", roles: ["user"] }];
  using place = new Place({ ...config, auth: { keys }, audit: { checkpointEvery: { records: 1 } } });
  const told = async (type: string) => (await place.records()).findLastIndex((record) => record.type === type);
  const frozen = { frozen: true, recorded: false };
  const writes = [
    ["api_key", "UPDATE"],
    ["tombstone", "INSERT"],
    ["flag", "INSERT"],
  ] as const;
  let lost: Awaited<ReturnType<Place["newKey"]>>;
  {
    await using daemon = await place.start();
    lost = await place.newKey("alice");
    using other = new Database(join(place.state, "mcpgw.db"));
    for (const [name, act] of writes)
      other.run(`CREATE TRIGGER ${name}_full BEFORE ${act} ON ${name} BEGIN SELECT raise(ABORT, 'disk full'); END`);
    expect(await place.json("keys", "revoke", lost.id)).toEqual({ id: lost.id, recorded: false });
    expect(await place.json("keys", "revoke", "yaml")).toEqual({ id: "yaml", recorded: false });
    expect(await place.json("keys", "freeze")).toEqual(frozen);
    await until(async () => (await told("checkpoint")) > (await told("key.frozen")), "a checkpoint after it", 10_000);
    await daemon.stop("SIGKILL");
    for (const [name] of writes) other.run(`DROP TRIGGER ${name}_full`);
  }
  const rebuilt = async () => (await place.records()).filter(({ type }) => type === "key.rebuilt");
  for (const isFrozen of [true, false]) {
    await using next = await place.start();
    expect((await next.post(request("ping"), { key: secret })).status).toBe(isFrozen ? 403 : 401);
    const listed = await place.json("keys", "list");
    const revoked = [lost.id, "yaml"].map((id): unknown => expect.objectContaining({ id, state: "revoked" }));
    expect(listed).toMatchObject({ frozen: isFrozen, keys: expect.arrayContaining(revoked) });
    if (isFrozen) await place.json("keys", "unfreeze");
  }
  expect((await rebuilt()).map(({ facts }) => facts)).toEqual([{ revoked: 2, frozen: true, lost: 0 }]);
}, 30_000);

test.skipIf(noStrace || !isRoot)(
  "P2: a daemon whose disk fails under the log ends at once, reports it and does not retry (needs strace as root)",
  async () => {
    await using daemon = await start({ servers: [] });
    const { place } = daemon;
    await place.newKey("alice");
    const failing = [
      "-f",
      "-o",
      place.path("strace"),
      "-p",
      String(daemon.pid),
      "-e",
      "inject=fdatasync:error=EIO",
      "-e",
      "signal=none",
    ];
    await using tracing = Bun.spawn([strace, ...failing], { stderr: "pipe", stdout: "ignore" });
    const said = linesOf(tracing.stderr);
    expect((await said.next()).value).toContain("attached");
    await place.cli(["keys", "create", "new", "bob", "user"]);
    expect(await daemon.child.exited).toBe(1);
    const msg: unknown = expect.stringMatching(/^the disk failed under the audit log/);
    expect(daemon.log.at(-1)).toMatchObject({ level: "error", msg, reason: expect.stringContaining("fdatasync") });
    expect((await place.cli(["audit", "verify"])).code).not.toBe(1);
  },
);

test("T06, P5: with a locked database calls wait at most 2 s, then get 503; the event loop continues; it recovers", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const key = await place.key("alice");
  const other = new Database(join(place.state, "audit/main.db"));
  try {
    other.run("BEGIN IMMEDIATE");
    const from = performance.now();
    let waiting = true;
    const refused = daemon.call("fake__echo", { id: "locked" }, key, "locked").finally(() => (waiting = false));
    let turns = 0;
    for (; waiting; turns++) expect((await daemon.get("/live")).status).toBe(200);
    const answer = await refused;
    expect(performance.now() - from).toBeWithin(1000, 2600);
    expect(answer.status).toBe(503);
    expect(answer.json).toMatchObject({ id: "locked", error: { code: -32603, data: { retryable: true } } });
    // Code that waits for the lock on the event loop lets one call in.
    expect(turns).toBeGreaterThan(10);
    expect((await daemon.get("/ready")).status).toBe(503);
    const waited = await place.cli(["status", "--wait", "1"]);
    expect(waited).toMatchObject({ code: 1, stdout: "" });
    expect(waited.stderr).toContain("not ready after 1 s: the audit log cannot record");
    expect((await place.cli(["status"])).stdout).toContain("not ready: the audit log cannot record");
    expect(place.calls("fake")).toEqual([]);
    other.run("ROLLBACK");
  } finally {
    other.close();
  }
  await until(
    async () => (await daemon.call("fake__echo", { id: "free" }, key, "free")).status === 200,
    "it records again",
  );
  await until(async () => (await daemon.get("/ready")).status === 200, "it is ready again");
  expect(await unrecorded(place)).toEqual([]);
  await daemon.stop();
  expect((await place.cli(["audit", "verify"])).code).toBe(0);
});

test.skipIf(!canMount())("T04: a start on a full disk reports it and ends (needs a tmpfs)", async () => {
  using disk = smallDisk();
  using inside = new Place(config, { state: disk.state });
  using outside = new Place({ ...config, audit: { path: join(disk.dir, "log.db") } });
  fill(join(disk.dir, "filler"));
  truncateSync(join(disk.dir, "ballast"), 16 * 1024 ** 2 - 64 * 1024);
  for (const [place, dir] of [
    [inside, disk.state],
    [outside, disk.dir],
  ] as const) {
    const ran = await place.cli(["daemon", "--listen", "127.0.0.1:0"]);
    expect([ran.code, ran.stderr]).toEqual([1, expect.stringContaining(`mcpgw: the disk of ${dir} is full: `)]);
    expect(ran.stderr).toMatch(/ is full: \d+ KiB are free, but 256 KiB are needed to start$/m);
  }
});

test.skipIf(!canMount())("a start whose audit.path is read-only says what the unit lacks (needs a tmpfs)", async () => {
  using disk = smallDisk();
  using place = new Place({ ...config, audit: { path: join(disk.dir, "log.db") } });
  Bun.spawnSync(["mount", "-o", "remount,ro", disk.dir]);
  const says = `mcpgw: ${disk.dir} is read-only for this process; under systemd add ReadWritePaths=${disk.dir} to the unit\n`;
  const { code, stderr } = await place.cli(["daemon", "--listen", "127.0.0.1:0"]);
  expect([code, stderr]).toEqual([1, expect.stringContaining(says)]);
});

test.each([
  ["signing.key", (file: string) => writeFileSync(file, "")],
  ["mcpgw.db", (file: string) => writeFileSync(file, Buffer.alloc(8192, "garbage "))],
  ["audit/main.db", (file: string) => mkdirSync(file)],
])("a start that cannot use %s names the file", async (name, spoil) => {
  using place = new Place(config);
  await place.newKey("alice");
  const file = join(place.state, name);
  for (const suffix of ["", "-wal", "-shm"]) rmSync(file + suffix, { force: true });
  spoil(file);
  for (const command of ["daemon --listen 127.0.0.1:0", "keys create B bob user"]) {
    const ran = await place.cli(command.split(" "));
    expect([ran.code, ran.stderr]).toEqual([1, expect.stringContaining(file)]);
  }
});
