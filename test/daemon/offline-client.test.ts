import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { outsideOf } from "../support/audit.ts";
import { daemonCommand, everything, fake, Place, servesParent } from "../support/daemon.ts";
import { tryLock } from "../../src/core/libc.ts";
import { embeddedChains, openFreeChain, prepareStateDir } from "../../src/store/open.ts";
import { openUsageStore } from "../../src/store/sqlite/usage.ts";
import { nothing } from "../../src/usage/counters.ts";
import { StdioClient } from "../support/stdio-client.ts";

// What commands do without a daemon, and when they refuse.

// Each command is a process, which is slow on a busy machine.
setDefaultTimeout(30_000);

const config = { servers: [], policies: [] };
const unusable = { ...config, auth: { keys: [{ id: "a", key: "${NOT_SET_HERE}", consumerId: "a", roles: ["user"] }] } };

/** Returns the notice of key commands if no daemon answers. */
const goingBy = ({ state }: Place): string =>
  `mcpgw: no daemon answers at ${join(state, "control.sock")}; working directly on ${state}\n`;

test("R23 only keys create may create a state directory; other key commands say that it holds no state", async () => {
  using place = new Place(config);
  for (const words of ["keys list", "keys freeze", "keys unfreeze", "keys revoke key-1", "keys rotate key-1"]) {
    const ran = await place.cli(words.split(" "));
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain(`no daemon answers at ${join(place.state, "control.sock")}`);
    expect(ran.stderr).toContain(`${place.state} holds no state: `);
    expect(ran.stderr).toContain("start a gateway with this configuration first");
    expect(ran.stderr).not.toContain("--config");
  }
  const unnamed = await place.bare(["keys", "list", "--state", place.state]);
  expect(unnamed.stderr).toMatch(/give --config, .* does not read the gateway\.yaml/);
  expect(existsSync(place.state)).toBe(false);
  const begun = await place.cli(["keys", "create", "A", "agent", "user"]);
  expect(begun).toMatchObject({ code: 0, stderr: expect.stringContaining(`creating ${place.state}`) });
  const frozen = await place.cli(["keys", "freeze"]);
  expect(frozen).toMatchObject({ code: 0, stderr: goingBy(place) });
  expect(frozen.stdout).not.toContain("every caller is refused");
  expect((await place.cli(["keys", "list"])).stderr).toContain("frozen");
  expect((await place.cli(["keys", "unfreeze"])).stdout).not.toContain("callers are served again\n");
});

test("R23 P3 a first key can be created after an attempt that was killed before the log existed and left its lock", async () => {
  using place = new Place(config);
  prepareStateDir(place.state);
  tryLock(join(place.state, "audit/main.lock"))?.[Symbol.dispose]();
  const made = await place.bare(["keys", "create", "A", "agent", "user", "--state", place.state]);
  expect(made).toMatchObject({ code: 0, stderr: expect.stringContaining(`creating ${place.state}`) });
});

test("a command that restarts itself to get threads for checkpoint files prints its notice once, and does not find its own output file", async () => {
  using place = new Place("");
  place.configure({ ...config, audit: { checkpoints: [{ file: join(place.dir, "checkpoints") }] } });
  // Unset, as in an operator's environment, so that the program sets them and restarts.
  place.prefix = ["env", "-u", "BUN_CONFIG_MAX_HTTP_REQUESTS", "-u", "UV_THREADPOOL_SIZE"];
  await place.newKey("agent");
  expect(await place.cli(["keys", "freeze"])).toMatchObject({ code: 0, stderr: goingBy(place) });
  const out = join(place.dir, "export.jsonl");
  expect(await place.cli(["audit", "export", "--payloads", "--out", out])).toMatchObject({ code: 0 });
  expect(readFileSync(out, "utf8")).toContain("admin.payloads-exported");
  // A refused export exported nothing, so it is not recorded.
  expect(await place.cli(["audit", "export", "--payloads", "--out", out])).toMatchObject({ code: 2 });
  const log = await place.cli(["audit", "log", "--type", "admin.payloads-exported", "--json"]);
  expect(log.stdout.match(/admin\.payloads-exported/g)).toHaveLength(1);
});

// These three wait out the time that a command gives another one on the same state directory.
test.concurrent("T48 a copy of a state directory cannot write the external log that a gateway of the original is writing", async () => {
  using place = new Place("");
  const audit = { path: join(place.dir, "log.db") };
  place.configure({ ...config, audit });
  await place.newKey("agent");
  using copy = new Place({ ...config, audit });
  cpSync(place.state, copy.state, { recursive: true });
  using _held = openFreeChain({ state: place.state, main: audit.path }, ["main"]);
  const { code, stderr } = await copy.cli(["keys", "freeze"]);
  expect([code, stderr]).toEqual([1, expect.stringContaining(`another process (pid ${process.pid}) is writing`)]);
});

test.concurrent("while another process holds the log, keys list shows the keys as stored, and a change is refused with advice", async () => {
  using place = new Place(config);
  const { id } = await place.newKey("agent");
  using _held = openFreeChain({ state: place.state, main: null }, ["main"]);
  const [listed, frozen] = await Promise.all([place.cli(["keys", "list"]), place.cli(["keys", "freeze"])]);
  expect(listed).toMatchObject({ code: 0, stdout: expect.stringContaining(id) });
  expect(listed.stderr).toContain("another process is writing its audit log");
  expect(frozen).toMatchObject({ code: 1, stdout: "" });
  expect(frozen.stderr).toContain(`another process (pid ${process.pid}) is writing the audit log of ${place.state}`);
  expect(frozen.stderr).toContain("try again in a few seconds");
});

test.concurrent("if a daemon runs on another socket, a key change names that daemon and says how to reach it", async () => {
  using place = new Place(config);
  await using daemon = await place.start();
  const { id } = await place.newKey("agent");
  const ran = await place.cli(["keys", "revoke", id, "--socket", join(place.dir, "other.sock")]);
  expect(ran).toMatchObject({ code: 1, stdout: "" });
  expect(ran.stderr).toContain(`(pid ${daemon.pid})`);
  expect(ran.stderr).toContain("a daemon on another socket (name it with --socket)");
});

test("D15 a ninth gateway without a daemon is refused", async () => {
  using place = new Place({ ...config, auth: servesParent });
  prepareStateDir(place.state);
  const held = embeddedChains.map((chain) => tryLock(join(place.state, "audit", `${chain}.lock`)));
  try {
    const ran = await place.cli(["serve"]);
    expect(ran).toMatchObject({ code: 1, stdout: "" });
    expect(ran.stderr).toContain(`8 gateways without a daemon already run on ${place.state}, `);
    expect(ran.stderr).toContain("`mcpgw daemon`");
    expect(ran.stderr).not.toContain("try again");
  } finally {
    for (const lock of held) lock?.[Symbol.dispose]();
  }
});

test("an export that fails leaves no file behind", async () => {
  using place = new Place(config);
  await place.newKey("agent");
  const out = join(place.dir, "export.jsonl");
  const ran = await place.cli(["audit", "export", "--out", out, "--chain", "ghost"]);
  expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining("there is no chain ghost") });
  expect(existsSync(out)).toBe(false);
  expect((await place.cli(["audit", "export", "--out", out])).code).toBe(0);
});

test("verify without a log is refused, never INTACT, and creates no signing key", async () => {
  using place = new Place(config);
  writeFileSync(place.state, "");
  const nothing = { code: 2, stdout: "", stderr: expect.stringContaining(`nothing is recorded in ${place.state}`) };
  expect(await place.cli(["audit", "verify"])).toMatchObject(nothing);
  rmSync(place.state);
  await place.newKey("agent");
  expect((await place.cli(["audit", "verify"])).code).not.toBe(1);
  const key = join(place.state, "signing.key");
  rmSync(key);
  const ran = await place.cli(["audit", "verify"]);
  expect(ran).toMatchObject({ code: 2, stdout: "" });
  expect(ran.stderr).toContain("signing.key is missing");
  expect(existsSync(key)).toBe(false);
});

test("R25 commands without a daemon do not need the servers' secrets; commands that run servers do", async () => {
  using place = new Place(config);
  const audit = { path: "elsewhere.db" };
  const servers = [
    fake("fake", [], { env: { TOKEN: "${NOT_SET_HERE}" } }),
    { id: "crm", url: "https://${NOT_SET_HERE}/mcp", timeout: "${NOT_SET_HERE}" },
  ];
  place.configure({ ...config, servers, audit });
  const made = await place.newKey("agent");
  for (const args of ["audit log --json", "audit stats", "audit verify", "audit export"]) {
    expect(await place.cli(args.split(" "))).toMatchObject({ code: 0, stderr: "" });
  }
  expect(await place.cli(["usage"])).toMatchObject({ code: 0, stderr: "no call matches\n" });
  for (const args of ["keys list", `keys revoke ${made.id}`]) {
    expect(await place.cli(args.split(" "))).toMatchObject({ code: 0, stderr: goingBy(place) });
  }
  expect(existsSync(join(place.dir, "elsewhere.db"))).toBe(true);
  for (const args of [daemonCommand, ["serve"]]) {
    const ran = await place.cli(args);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain("NOT_SET_HERE");
  }
  const checked = await place.bare(["config", "check", "--config", place.config]);
  expect(checked).toMatchObject({ code: 2, stdout: "" });
});

test("an unusable configuration is reported, and the chain in the state directory is still read", async () => {
  using place = new Place(config);
  const { id } = await place.newKey("agent");
  place.configure(unusable);
  const ran = await place.cli(["audit", "log", "--type", "key.*"]);
  expect(ran).toMatchObject({ code: 0 });
  expect(ran.stdout).toContain("key.created");
  expect(ran.stderr).toContain("NOT_SET_HERE");
  // It is in the current directory, but was not passed over.
  const stderr: unknown = expect.not.stringContaining("--config");
  expect(await place.cli(["keys", "revoke", id])).toMatchObject({ code: 0, stderr });
});

test("if audit.path is unknown because the configuration is unusable, the default place is not verified, read or written", async () => {
  using place = new Place(config);
  const audit = { path: join(place.dir, "elsewhere.db") };
  place.configure({ ...config, audit });
  await place.newKey("agent");
  place.configure({ ...unusable, audit });
  rmSync(join(outsideOf(place), "main.path"));
  // Another chain exists, so that half of the records could be mistaken for all.
  openFreeChain({ state: place.state, main: null }, embeddedChains)?.[Symbol.dispose]();
  const create = "keys create A agent user";
  for (const words of ["audit verify", "audit log", create]) {
    const ran = await place.cli(words.split(" "));
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain("NOT_SET_HERE");
  }
  expect(existsSync(join(place.state, "audit/main.db"))).toBe(false);
  rmSync(place.state, { recursive: true });
  expect(await place.cli(create.split(" "))).toMatchObject({ code: 2, stdout: "" });
  expect(existsSync(place.state)).toBe(false);
});

test("a log outside the state directory is found without the configuration, and its loss is detected", async () => {
  const elsewhere = (place: Place): string => join(place.dir, "elsewhere.db");
  using place = new Place(config);
  place.configure({ ...config, audit: { path: elsewhere(place) } });
  const { id } = await place.newKey("agent");
  const ask = (...args: string[]) => place.bare([...args, "--state", place.state], place.state);
  expect(await ask("audit", "verify")).toMatchObject({ code: 0, stderr: "" });
  expect((await ask("audit", "log")).stdout).toContain("key.created");
  expect(await ask("keys", "revoke", id)).toMatchObject({ code: 0 });
  expect(existsSync(join(place.state, "audit/main.db"))).toBe(false);

  for (const end of ["", "-wal", "-shm"]) {
    if (existsSync(elsewhere(place) + end)) renameSync(elsewhere(place) + end, join(place.dir, `moved.db${end}`));
  }
  expect(await ask("audit", "log")).toMatchObject({ code: 2, stdout: "" });
  const gone = await ask("audit", "verify");
  expect(gone).toMatchObject({ code: 1 });
  expect(gone.stdout).toContain("TAMPERED");
  place.configure({ ...config, audit: { path: join(place.dir, "moved.db") } });
  expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 0 });
});

test("a log outside the state directory is not started a second time if its place is unknown", async () => {
  using place = new Place("");
  place.configure({ ...config, audit: { path: join(place.dir, "elsewhere.db") } });
  const { id } = await place.newKey("agent");
  // As with another home directory, which lacks the note of the log's path.
  rmSync(place.heads, { recursive: true });
  for (const words of ["keys create A agent user", `keys revoke ${id}`, "keys freeze"]) {
    const ran = await place.bare([...words.split(" "), "--state", place.state], place.state);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain("name its configuration with --config");
  }
  expect(existsSync(join(place.state, "audit/main.db"))).toBe(false);
  expect(await place.cli(["keys", "revoke", id])).toMatchObject({ code: 0 });
});

test("a command that only reads creates no database", async () => {
  using place = new Place(config);
  const contents = () => (existsSync(place.state) ? readdirSync(place.state) : "no directory");
  for (const before of ["no directory", []]) {
    if (before !== "no directory") mkdirSync(place.state, { mode: 0o700 });
    for (const words of ["audit log", "audit stats", "audit export", "audit show 1", "usage"]) {
      const ran = await place.cli(words.split(" "));
      expect(ran).toMatchObject({ code: 2, stdout: "" });
      expect(ran.stderr).toContain(`nothing is recorded in ${place.state}`);
    }
    const checked = await place.cli(["audit", "verify"]);
    expect(checked).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("nothing is recorded in") });
    expect(contents()).toEqual(before);
  }
  await place.newKey("agent");
  const usage = join(place.state, "mcpgw.db");
  for (const end of ["", "-wal", "-shm"]) rmSync(usage + end, { force: true });
  expect(await place.cli(["usage"])).toMatchObject({ code: 0 });
  expect(existsSync(usage)).toBe(false);
});

test("R26 usage includes calls that killed gateways left uncounted, and writes nothing", async () => {
  using place = new Place({
    servers: [fake("fake")],
    policies: [everything()],
    auth: { stdio: { consumerId: "local", roles: ["user"] } },
  });
  for (const calls of [2, 1]) {
    await using client = new StdioClient(place);
    await client.open();
    for (let i = 0; i < calls; i += 1) await client.call("fake__echo", {});
    client.child.kill("SIGKILL");
    await client.child.exited;
  }
  const usage = { rows: [{ name: "local", calls: 3, errors: 0, denied: 0 }], metered: true };
  for (let i = 0; i < 2; i += 1) expect(await place.json("usage")).toMatchObject(usage);
  expect(await place.json("usage", "nobody")).toMatchObject({ rows: [] });
  expect(await place.json("usage", "--until", "1h")).toMatchObject({ rows: [] });
  expect(await place.json("usage", "--since", "1m")).toMatchObject(usage);
  await using daemon = await place.start();
  expect(await place.json("usage")).toMatchObject(usage);
  expect(await daemon.stop()).toBe(0);
  // An unreadable record does not affect what was counted before it.
  const log = new Database(join(place.state, "audit/main.db"));
  const { last } = log.query<{ last: number }, []>("SELECT max(seq) AS last FROM audit").get() ?? { last: 0 };
  log.run("INSERT INTO audit (seq, rec, leaf) VALUES (?, '{', x'00')", [last + 1]);
  log.close();
  const cut = await place.cli(["usage", "--json"]);
  expect(JSON.parse(cut.stdout)).toMatchObject(usage);
  expect(cut).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(
      `chain main cannot be read beyond record ${last}, so later records are not counted; `,
    ),
  });
});

test("R26 usage names a killed gateway's chain that cannot be read to its end, with and without a daemon", async () => {
  using place = new Place({
    servers: [fake("fake")],
    policies: [everything()],
    auth: { stdio: { consumerId: "local", roles: ["user"] } },
  });
  {
    await using client = new StdioClient(place);
    await client.open();
    for (let i = 0; i < 3; i += 1) await client.call("fake__echo", {});
    client.child.kill("SIGKILL");
    await client.child.exited;
  }
  const log = new Database(join(place.state, "audit/serve-1.db"));
  const ends = 'SELECT seq FROM audit WHERE rec LIKE \'%"type":"call.end"%\' ORDER BY seq LIMIT 1';
  const { seq } = log.query<{ seq: number }, []>(ends).get() ?? { seq: 0 };
  log.run("UPDATE audit SET rec = '{\"broken' WHERE seq = ?", [seq]);
  log.close();
  const usage = { metered: true, cutShort: [{ chain: "serve-1", upto: expect.any(Number) as unknown }], rows: [] };
  const warning: unknown = expect.stringMatching(
    /^mcpgw: warning: chain serve-1 cannot be read beyond record \d+, so /m,
  );
  const partly = async () => {
    const asked = await place.cli(["usage", "--json"]);
    expect(asked).toMatchObject({ code: 1, stderr: warning });
    expect(JSON.parse(asked.stdout)).toEqual(usage);
    for (const flags of [[], ["--csv"]])
      expect(await place.cli(["usage", ...flags])).toMatchObject({ code: 1, stderr: warning });
  };
  await partly();
  await using daemon = await place.start();
  await partly();
  expect(await daemon.stop()).toBe(0);
});

test("R26 usage counts whole hours, says which ones if the times are finer, and adjacent periods do not overlap", async () => {
  using place = new Place(config);
  await place.newKey("agent");
  const store = openUsageStore(join(place.state, "mcpgw.db"));
  const hour = Date.UTC(2026, 10, 25) / 3_600_000;
  const row = { ...nothing, consumer: "a", server: "s", tool: "t" };
  store.apply(
    "gone",
    0,
    1,
    [184, 5, 7].map((calls, at) => ({ ...row, calls, hour: hour + at })),
  );
  store[Symbol.dispose]();
  const times = (from: string, to: string) => [
    "usage",
    "--since",
    `2026-11-25T${from}Z`,
    "--until",
    `2026-11-25T${to}Z`,
  ];
  const counts = (calls: number) => [expect.objectContaining({ calls })];
  expect(await place.json(...times("00:00", "01:00"))).toEqual({ metered: true, rows: counts(184) });
  expect(await place.json(...times("01:00", "02:00"))).toEqual({ metered: true, rows: counts(5) });
  expect(await place.json(...times("00:30", "01:30"))).toEqual({
    metered: true,
    hours: { since: "2026-11-25T00:00Z", until: "2026-11-25T02:00Z" },
    rows: counts(189),
  });
  const finer = expect.stringContaining("these counts are from 2026-11-25T00:00Z until 2026-11-25T02:00Z");
  expect(await place.cli(times("00:30", "01:30"))).toMatchObject({ code: 0, stderr: finer });
});

test("without a daemon ./gateway.yaml is not read", async () => {
  using place = new Place({ ...config, audit: { path: "elsewhere.db" } });
  // Runs in place.dir, next to gateway.yaml, with only --state.
  const made = await place.bare(["keys", "create", "A", "agent", "user", "--state", place.state]);
  expect(made).toMatchObject({ code: 0 });
  expect(existsSync(join(place.state, "audit/main.db"))).toBe(true);
  expect(existsSync(join(place.dir, "elsewhere.db"))).toBe(false);
});
