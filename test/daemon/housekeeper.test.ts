import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AuditBroker } from "../../src/audit/broker.ts";
import { gatherEvidence } from "../../src/audit/evidence.ts";
import { Failure } from "../../src/core/failure.ts";
import { type LogFacts, silent } from "../../src/core/log.ts";
import type { UsageRow } from "../../src/core/store.ts";
import { HousekeeperClient } from "../../src/daemon/housekeeper-client.ts";
import { rollUpPage } from "../../src/daemon/rollup.ts";
import { withUncounted } from "../../src/daemon/uncounted-usage.ts";
import { openState } from "../../src/store/open.ts";
import { openIndexWriter } from "../../src/store/sqlite/index-writer.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { openUsageStore } from "../../src/store/sqlite/usage.ts";
import { callOf, failed, openBroker, outsideOf, runCall, tempState, type TempState } from "../support/audit.ts";
import { reasonOf } from "../support/failure.ts";
import { fullDisk } from "../support/full-disk.ts";
import { once } from "../support/in-process.ts";
import { noStrace, strace } from "../support/processes.ts";
import { until } from "../support/until.ts";
import { writtenLog } from "../support/written-log.ts";

const url = new URL("../../src/daemon/housekeeper.ts", import.meta.url);
const fatal = (reason: string): never => {
  throw new Error(`fatal: ${reason}`);
};

/** Starts a housekeeper that `broker` wakes. It is closed once, at the end of its scope. */
function start(at: TempState, broker: AuditBroker | null, { usage = true, log = silent } = {}) {
  const keeper = new HousekeeperClient({
    url,
    home: { state: at.state, main: null },
    chain: "main",
    usage,
    log,
    fatal,
  });
  broker?.onDurable(keeper.wake);
  const close = once(keeper.close.bind(keeper));
  return Object.assign(keeper, { close, [Symbol.asyncDispose]: close });
}

/** Returns a log that collects the causes of its warnings. */
function warningLog() {
  const causes: unknown[] = [];
  return { causes, log: { ...silent, warn: (_message: string, { cause }: LogFacts = {}) => void causes.push(cause) } };
}

/** Sums the calls, errors and denials of all rows. */
function totals({ rows }: { readonly rows: readonly UsageRow[] }): [number, number, number] {
  const sum = (key: "calls" | "errors" | "denied") => rows.reduce((total, row) => total + row[key], 0);
  return [sum("calls"), sum("errors"), sum("denied")];
}

test("R13 R26 housekeeper: answers from durable records, verifies, and finds records", async () => {
  using at = tempState();
  await using opened = await openBroker(at, { durability: "strict" });
  await using keeper = start(at, opened.broker);
  for (let i = 0; i < 20; i += 1) await runCall(opened.broker, { consumer: i % 2 ? "a" : "b" });
  await opened.broker.end(failed(callOf({ consumer: "a" }), new Failure("denied", "no")));
  await until(async () => totals(await keeper.ask("usage", {}))[0] === 21, "21 calls counted");
  expect(totals(await keeper.ask("usage", { consumer: "a" }))).toEqual([11, 0, 1]);
  expect((await keeper.ask("find", { consumer: "a" })).rows).toHaveLength(11);
  expect(await keeper.ask("page", "main", 41, 9)).toMatchObject([{ seq: 41 }]);
  await opened.broker.checkpoint();
  const { optionsFor } = await gatherEvidence({ dir: outsideOf(at), sources: [] });
  expect(await keeper.ask("verify", await optionsFor("main"))).toMatchObject({ exit: 0, bad: null });
  const page = keeper.ask("page", "nowhere", 1, 1);
  expect(await page.catch((error: Error) => error.message)).toContain("unable to open");
  const asked = Array.from({ length: 1000 }, () => keeper.ask("page", "main", 1, 1));
  expect(String(await reasonOf(keeper.ask("page", "main", 1, 1)))).toContain("too many requests");
  expect(await Promise.all(asked)).toHaveLength(1000);
});

test("T55 R13 housekeeper: usage catches up from the chain after a restart without counting anything twice", async () => {
  using at = tempState();
  const opened = await openBroker(at);
  for (let i = 0; i < 10; i += 1) await runCall(opened.broker);
  await opened.close();
  await using again = await openBroker(at);
  for (let round = 0; round < 2; round += 1) {
    await using keeper = start(at, again.broker);
    await runCall(again.broker);
    await until(async () => totals(await keeper.ask("usage", {}))[0] === 11 + round, "all calls counted");
  }
});

test("housekeeper: without metering, nothing is counted but search works", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  await using keeper = start(at, opened.broker, { usage: false });
  await runCall(opened.broker);
  await until(() => opened.broker.durable() === 2, "durable");
  expect((await keeper.ask("find", {})).rows).toHaveLength(1);
  expect(await keeper.ask("usage", {})).toEqual({ rows: [], cutShort: [] });
});

test("D8 housekeeper: the WAL of mcpgw.db is reset while lists are stored, without metering or calls", async () => {
  using at = tempState();
  await using _opened = await openBroker(at);
  using state = openState(at.state);
  await using _keeper = start(at, null, { usage: false });
  const log = () => statSync(join(at.state, "mcpgw.db-wal")).size;
  const offers = { prompts: [], resources: [], resourceTemplates: [], capabilities: "{}", instructions: null };
  const tools = ["x".repeat(64 << 10)];
  // A write that does not grow the file went to its start.
  await until(
    () => {
      const before = log();
      state.remember("crm", "h", { ...offers, era: "legacy", tools });
      return log() === before && before > 2 << 20;
    },
    "the log to start over",
    25_000,
  );
}, 30_000);

test("D8 housekeeper: records are checkpointed from the WAL of the chain while calls are recorded", async () => {
  using at = tempState();
  await using opened = await openBroker(at, { payloads: "full" });
  await using keeper = start(at, opened.broker);
  const result = JSON.stringify({ text: "x".repeat(60_000) });
  for (let i = 0; i < 80; i += 1) await runCall(opened.broker, {}, result);
  await until(() => statSync(at.db()).size > 2 << 20, "the records in the database");
  await opened.broker.flush();
  await keeper.close();
  // The next start has no WAL to read.
  expect(statSync(`${at.db()}-wal`).size).toBe(0);
});

test("R8 R26 housekeeper: records are counted and indexed without a query", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  await using _keeper = start(at, opened.broker);
  await runCall(opened.broker);
  using usage = openUsageStore(join(at.state, "mcpgw.db"));
  await until(() => usage.usageMark("main") === 2, "the call counted");
  using index = openIndexWriter(join(at.state, "index.db"));
  await until(() => index.mark("main")?.seq === 2, "the call indexed");
  await runCall(opened.broker);
  await until(() => usage.usageMark("main") === 4, "a later call counted");
}, 30_000);

test("R26 P2 housekeeper: only records that survive a power cut are counted", async () => {
  using at = tempState();
  // Nothing requests a sync.
  await using opened = await openBroker(at, {}, { tick: 60_000 });
  await using keeper = start(at, opened.broker);
  await runCall(opened.broker);
  expect(totals(await keeper.ask("usage", {}))).toEqual([0, 0, 0]);
  await opened.broker.flush();
  expect(totals(await keeper.ask("usage", {}))).toEqual([1, 0, 0]);
});

test("housekeeper: records are counted later, without a warning, if another process locks the database", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  await runCall(opened.broker);
  await until(() => opened.broker.durable() === 2, "the call");
  const { causes, log } = warningLog();
  await using keeper = start(at, null, { log });
  keeper.wake(2);
  expect(totals(await keeper.ask("usage", {}))).toEqual([1, 0, 0]);
  await runCall(opened.broker);
  await until(() => opened.broker.durable() === 4, "another call");
  keeper.wake(4);
  using other = new Database(join(at.state, "mcpgw.db"));
  other.run("BEGIN IMMEDIATE");
  expect(totals(await keeper.ask("usage", {}))).toEqual([2, 0, 0]);
  other.run("ROLLBACK");
  await keeper.close();
  expect(causes).toEqual([]);
  using usage = openUsageStore(join(at.state, "mcpgw.db"));
  expect(usage.usageMark("main")).toBe(4);
}, 30_000);

test.skipIf(noStrace)(
  "P2 housekeeper: the process is ended if a checkpointed database cannot be synced (needs strace)",
  async () => {
    using at = tempState();
    await using opened = await openBroker(at, { payloads: "full" });
    const result = JSON.stringify({ text: "x".repeat(60_000) });
    for (let i = 0; i < 60; i += 1) await runCall(opened.broker, {}, result);
    const module = (name: string): string => JSON.stringify(new URL(`../../src/${name}`, import.meta.url).pathname);
    const code = `
      import { silent } from ${module("core/log.ts")};
      import { HousekeeperClient } from ${module("daemon/housekeeper-client.ts")};
      const url = new URL(${JSON.stringify(url.href)});
      const home = { state: ${JSON.stringify(at.state)}, main: null };
      const fatal = (reason) => { console.log(reason); process.exit(7); };
      setInterval(() => {}, 1000);
      new HousekeeperClient({ url, home, chain: "main", usage: false, log: silent, fatal }).wake(120);`;
    const failing = [strace, "-f", "-qq", "-P", at.db(), "-e", "inject=fdatasync:error=EIO", "-e", "signal=none"];
    const child = Bun.spawn([...failing, process.execPath, "-e", code], { stdout: "pipe", stderr: "ignore" });
    expect([await child.stdout.text(), await child.exited]).toEqual([expect.stringContaining(at.db()), 7]);
  },
  30_000,
);

test("R13 T04 housekeeper: on a full disk it still finds and counts records, and closes quickly", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  const { causes, log } = warningLog();
  await using keeper = start(at, opened.broker, { log });
  await runCall(opened.broker);
  await until(() => opened.broker.durable() === 2, "the first call");
  expect(totals(await keeper.ask("usage", {}))).toEqual([1, 0, 0]);
  using _usage = fullDisk(join(at.state, "mcpgw.db"), "INSERT ON usage_mark");
  using _index = fullDisk(join(at.state, "index.db"), "INSERT ON mark");
  await runCall(opened.broker, { consumer: "b" });
  await until(() => opened.broker.durable() === 4, "the second call");
  keeper.wake(4);
  expect((await keeper.ask("find", {})).rows).toHaveLength(2);
  expect(totals(await keeper.ask("usage", {}))).toEqual([2, 0, 0]);
  expect(totals(await keeper.ask("usage", { consumer: "b" }))).toEqual([1, 0, 0]);
  const from = performance.now();
  await keeper.close();
  expect(performance.now() - from).toBeLessThan(4000);
  expect(causes).toContain(`chain main: ${join(at.state, "mcpgw.db")}: disk full (SQLITE_CONSTRAINT_TRIGGER)`);
});

test("R13 housekeeper: a failure that recurs is logged again, but at most once a minute", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  const { lines, log } = writtenLog();
  await using keeper = start(at, opened.broker, { log });
  for (const isFull of [false, true, false, true]) {
    using _full = isFull ? fullDisk(join(at.state, "mcpgw.db"), "INSERT ON usage_mark") : null;
    const before = opened.broker.durable();
    await runCall(opened.broker);
    await until(() => opened.broker.durable() === before + 2, "the call");
    // The second query finds the same state.
    for (let times = 0; times < 2; times++) await keeper.ask("usage", {});
  }
  expect(lines).toEqual([expect.stringContaining("disk full")]);
  log.flush();
  expect(lines.slice(1)).toEqual([expect.stringContaining('"count":1')]);
});

test("R13 housekeeper: a chain that cannot be read is reported once, and other chains are still counted", async () => {
  using at = tempState();
  for (const chain of ["main", "serve-1", "serve-2", "serve-3"]) {
    await using opened = await openBroker(at, {}, { chain });
    await runCall(opened.broker);
  }
  writeFileSync(at.db("serve-1"), readFileSync(at.db("serve-1")).fill(0xa5));
  using log = new Database(at.db("serve-2"));
  log.run("UPDATE audit SET rec = '{' WHERE seq = 2");
  const { causes, log: warnings } = warningLog();
  await using keeper = start(at, null, { log: warnings });
  for (let times = 0; times < 3; times += 1) await keeper.ask("usage", {});
  await keeper.close();
  expect(causes).toEqual([
    `chain serve-1: ${at.db("serve-1")}: file is not a database (SQLITE_NOTADB)`,
    expect.stringMatching(/^chain serve-2: .*JSON/),
  ]);
  using usage = openUsageStore(join(at.state, "mcpgw.db"));
  // Two records of the call, and the checkpoint at the close.
  expect(["serve-1", "serve-2", "serve-3"].map(usage.usageMark)).toEqual([0, 0, 3]);
});

test("R8 housekeeper: an index that a query finds damaged is reported, recreated and refilled", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  for (let i = 0; i < 20; i += 1) await runCall(opened.broker, { consumer: i % 2 ? "a" : "b" });
  await until(() => opened.broker.durable() === 40, "all calls");
  const { causes, log } = warningLog();
  const filling = start(at, null);
  filling.wake(40);
  await filling.close();
  const path = join(at.state, "index.db");
  const page = pageOf(path, "entry_consumer");
  writeFileSync(path, readFileSync(path).fill(0xa5, 4096 * (page - 1), 4096 * page));
  await using keeper = start(at, null, { log });
  keeper.wake(40);
  expect((await keeper.ask("find", { server: "crm" })).rows).toHaveLength(20);
  expect(causes).toEqual([]);
  for (let round = 0; round < 2; round++) expect((await keeper.ask("find", { consumer: "a" })).rows).toHaveLength(10);
  expect(causes).toEqual([expect.stringContaining(`${path}: database disk image is malformed`)]);
  await keeper.close();
  using index = new Database(path, { readonly: true });
  expect(index.query("SELECT count(*) AS rows FROM entry INDEXED BY entry_consumer").get()).toEqual({ rows: 20 });
});

/** Returns the root page of a table or an index. */
function pageOf(path: string, name: string): number {
  using db = new Database(path, { readonly: true });
  const row = db.query<{ rootpage: number }, [string]>("SELECT rootpage FROM sqlite_schema WHERE name = ?").get(name);
  return row?.rootpage ?? 0;
}

test("R13 housekeeper: an index that cannot be opened is reported once, and everything else still works", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  mkdirSync(join(at.state, "index.db"));
  const { causes, log } = warningLog();
  await using keeper = start(at, opened.broker, { log: { ...log, error: log.warn } });
  for (let calls = 1; calls <= 2; calls++) {
    await runCall(opened.broker);
    await until(() => opened.broker.durable() === 2 * calls, "the call");
    expect((await keeper.ask("find", {})).rows).toHaveLength(calls);
  }
  await keeper.close();
  using usage = openUsageStore(join(at.state, "mcpgw.db"));
  expect(usage.usageMark("main")).toBeGreaterThanOrEqual(4);
  expect(causes).toEqual([expect.stringContaining(join(at.state, "index.db"))]);
}, 30_000);

test("housekeeper: if it dies, that is logged, pending requests fail, and it is restarted", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  await runCall(opened.broker);
  const deaths: unknown[] = [];
  const log = { ...silent, error: (_message: string, facts: object = {}) => void deaths.push(facts) };
  // It cannot start while the database is locked.
  const holder = new Database(join(at.state, "mcpgw.db"));
  holder.run("PRAGMA journal_mode = WAL");
  holder.run("BEGIN EXCLUSIVE");
  await using keeper = start(at, null, { log });
  keeper.wake(2);
  const ask = () => keeper.ask("page", "main", 2, 9);
  expect(await ask().catch((error: Error) => error.message)).toBe("the housekeeper died");
  expect(deaths).toEqual([{ cause: "database is locked (SQLITE_BUSY)" }]);
  expect(await ask().catch((error: Error) => error.message)).toBe("the housekeeper is restarting");
  // A client that is closed in the meantime does not wait for a new Worker.
  const closing = start(at, null);
  await closing.ask("page", "main", 2, 9).catch(() => {});
  const from = performance.now();
  await closing.close();
  expect(performance.now() - from).toBeLessThan(3000);
  holder.run("COMMIT");
  holder.close(true);
  const alive = () => ask().catch(() => null);
  expect(await until(alive, "another housekeeper")).toMatchObject([{ seq: 2 }]);
  using usage = openUsageStore(join(at.state, "mcpgw.db"));
  await until(() => usage.usageMark("main") === 2, "the call to be counted, though no other was made");
  await keeper.close();
}, 30_000);

test("housekeeper: a request during close fails, so that no caller waits forever", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  await runCall(opened.broker);
  const keeper = start(at, opened.broker);
  expect(await keeper.ask("page", "main", 1, 9)).toHaveLength(2);
  const closed = keeper.close();
  const late = keeper.ask("page", "main", 1, 9).catch((error: Error) => error.message);
  await closed;
  expect(await Promise.race([late, Promise.resolve("no answer")])).toBe("the gateway is stopping");
});

test("housekeeper: if it cannot start, it is retried every second and logged once a minute", async () => {
  using at = tempState();
  const { lines, log: written } = writtenLog();
  let deaths = 0;
  const log = { ...written, error: (...said: Parameters<typeof written.error>) => (deaths++, written.error(...said)) };
  await using _keeper = start({ ...at, state: join(at.root, "gone") }, null, { log });
  const from = performance.now();
  await until(() => deaths > 2, "the third death");
  expect(performance.now() - from).toBeGreaterThan(2000);
  expect(lines).toEqual([expect.stringMatching(/the housekeeper died.*"cause":"ENOENT: [^\\]*"}\n$/)]);
});

test("rollup: handles several pages, marks of different ages, and the index of another chain", async () => {
  using at = tempState();
  await using opened = await openBroker(at);
  await Promise.all(Array.from({ length: 1500 }, () => runCall(opened.broker)));
  await opened.broker.checkpoint();
  using reader = openReader({ state: at.state, main: null });
  using usage = openUsageStore(join(at.state, "mcpgw.db"));
  using index = openIndexWriter(join(at.state, "index.db"));
  const all = () => withUncounted(reader, usage.counted({}), {}, { metered: true, reach: () => 3000 });
  expect(totals(all())).toEqual([1500, 0, 0]);
  const later = { since: (Date.now() + 7_200_000) * 1000 };
  const reach = { metered: true, reach: () => 3000 };
  expect(totals(withUncounted(reader, usage.counted(later), later, reach))).toEqual([0, 0, 0]);
  // Without metering: stops at the limit, and removes the entries of the other chain.
  const foreign = { consumer: "agent", srv: "crm", tool: "query", st: "ok", type: "call.end", at: 1 };
  index.add("main", { seq: 2500, leaf: new Uint8Array(32) }, [{ seq: 3001, ...foreign }]);
  expect(rollUpPage(reader, "main", 2200, { usage: null, index })).toBe(true);
  for (let i = 0; i < 2; i++) expect(rollUpPage(reader, "main", 2200, { usage: null, index })).toBe(false);
  expect(index.mark("main")?.seq).toBe(2200);
  expect(rollUpPage(reader, "main", 3000, { usage, index: null })).toBe(true);
  expect(usage.usageMark("main")).toBe(2000);
  expect(totals(all())).toEqual([1500, 0, 0]);
  expect(rollUpPage(reader, "main", 2500, { usage, index: null })).toBe(false);
  expect(rollUpPage(reader, "main", 3001, { usage, index })).toBe(false);
  expect([usage.usageMark("main"), index.mark("main")?.seq]).toEqual([3001, 3001]);
  expect(totals(usage.counted({}))).toEqual([1500, 0, 0]);
  // A leftover entry of the other chain would replace one of these.
  expect(reader.find({ consumer: "agent", limit: 1500 }).rows).toHaveLength(1500);
  expect(rollUpPage(reader, "main", 3001, { usage, index })).toBe(false);
  // Recreating the index counts nothing twice.
  index.renew();
  while (rollUpPage(reader, "main", 3001, { usage, index }));
  expect([usage.usageMark("main"), index.mark("main")?.seq]).toEqual([3001, 3001]);
  expect(totals(usage.counted({}))).toEqual([1500, 0, 0]);
});
