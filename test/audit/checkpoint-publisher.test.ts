import { expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { originsIn } from "../../src/audit/checkpoint.ts";
import { gatherEvidence } from "../../src/audit/evidence.ts";
import { checkpointFile } from "../../src/audit/outside.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silent } from "../../src/core/log.ts";
import { type Anchor, StoreBusy, StoreFailed } from "../../src/core/store.ts";
import { openChain } from "../../src/store/sqlite/chain.ts";
import { reasonOf } from "../support/failure.ts";
import { until } from "../support/until.ts";
import {
  openBroker,
  outsideOf,
  recordsOf,
  runCall,
  tempState,
  type TempState,
  verifyAt,
  recordCall,
  openLog,
} from "../support/audit.ts";

test("R9 a checkpoint covers records written just before it, also after a fresh start", async () => {
  await using opened = await openLog({}, { tick: 60_000 });
  await opened.broker.recordEvent({ type: "server.stopped", actor: "system", facts: { server: "s", pid: 1 } });
  await opened.broker.checkpoint();
  expect(opened.broker.health().checkpoint).toMatchObject({ size: 1 });
  // Anyone who could write there could remove the evidence that proves the log.
  expect(statSync(checkpointFile(outsideOf(opened), opened.broker.chain)).mode & 0o777).toBe(0o600);
});

test("R9 a checkpoint that could not be written to a file is retried until it is, and reported as a fault until then", async () => {
  using at = tempState();
  const file = join(at.root, "elsewhere");
  const errors: string[] = [];
  const log = { ...silent, error: (message: string) => void errors.push(message) };
  await using opened = await openBroker(at, { checkpoints: [{ file }] }, { log });
  mkdirSync(file);
  await runCall(opened.broker);
  await opened.broker.checkpoint();
  expect(opened.broker.health().checkpointFault).toContain("EISDIR");
  const { durable } = opened.broker.health();
  await runCall(opened.broker);
  await until(() => opened.broker.durable() >= durable + 2, "the next records");
  await opened.broker.checkpoint();
  expect(opened.broker.health().checkpointFault).toContain("EISDIR");
  expect(errors).toEqual(["audit checkpoint not written"]);
  // The default file took them all; the file that is furthest behind counts.
  const { records, checkpointLag } = opened.broker.health();
  expect(checkpointLag.records).toBeWithin(5, records + 1);
  rmSync(file, { recursive: true });
  await until(() => opened.broker.health().checkpointFault === null, "the retry");
  const { checkpoint } = opened.broker.health();
  expect(checkpoint?.source).toBe(file);
  expect(readFileSync(file, "utf8").split("\n")[1]).toBe(String(checkpoint?.size));
  expect(opened.broker.health().checkpointLag.records).toBeLessThan(5);
  expect(opened.broker.health().checkpointLag.us).toBeWithin(0, 60_000_000);
});

test.skipIf(!existsSync("/dev/full"))("R9 a checkpoint file on a full disk is named (needs Linux)", async () => {
  using at = tempState();
  const file = join(at.root, "elsewhere");
  await using opened = await openBroker(at, { checkpoints: [{ file }] });
  symlinkSync("/dev/full", file);
  await runCall(opened.broker);
  await opened.broker.checkpoint();
  expect(opened.broker.health().checkpointFault).toStartWith(`${file}: ENOSPC`);
});

test("R9 every checkpoint file that cannot be written is named, including one that is a directory", async () => {
  using at = tempState();
  const files = ["one", "other"].map((name) => join(at.root, name));
  const checkpoints = files.map((file) => ({ file }));
  {
    await using opened = await openBroker(at, { checkpoints });
    for (const file of files) mkdirSync(file);
    await runCall(opened.broker);
    await opened.broker.checkpoint();
    for (const file of files) expect(opened.broker.health().checkpointFault).toContain(`${file}: EISDIR`);
  }
  // A start stops at the first file that fails.
  expect(String(await reasonOf(openBroker(at, { checkpoints })))).toMatch(/\/(one|other): EISDIR/);
});

test("R9 the lag of a checkpoint file is known after a restart, from the newest checkpoint in it", async () => {
  using at = tempState();
  // Its directory is created with it.
  const [file, late] = [join(at.root, "else", "where"), join(at.root, "late")];
  const clock = { ...systemClock };
  for (const [halfHours, checkpoints] of [[{ file }], []].entries()) {
    clock.now = () => systemClock.now() + halfHours * 1_800_000_000;
    const opened = await openBroker(at, { checkpoints }, { clock });
    await runCall(opened.broker);
    await opened.close();
  }
  const size = Number(readFileSync(file, "utf8").split("\n")[1]);
  clock.now = () => systemClock.now() + 3_600_000_000;
  const lagWith = async (checkpoints: { file: string }[]) => {
    await using opened = await openBroker(at, { checkpoints }, { clock, tick: 60_000 });
    const { records, checkpointLag } = opened.broker.health();
    return { covered: records - checkpointLag.records, us: checkpointLag.us };
  };
  const restarted = await lagWith([{ file }]);
  expect(restarted.covered).toBe(size);
  expect(restarted.us).toBeWithin(3_600_000_000, 3_660_000_000);
  expect((await lagWith([{ file: late }])).covered).toBe(0);
  // By a clock that was set back, the checkpoint is from the future.
  clock.now = () => systemClock.now() - 3_600_000_000;
  expect((await lagWith([{ file }])).us).toBeWithin(0, 60_000_000);
});

test("R9 a checkpoint torn by a power cut is not a forgery: it is logged and recorded, and the next one is whole", async () => {
  using at = tempState();
  const file = join(at.root, "notes");
  const warnings: unknown[] = [];
  const log = { ...silent, warn: (_message: string, facts: unknown) => void warnings.push(facts) };
  for (const cut of [0, 40, 120, 190]) {
    await using opened = await openBroker(at, { checkpoints: [{ file }] }, { log });
    await runCall(opened.broker);
    await opened.close();
    truncateSync(file, statSync(file).size - cut);
    const evidence = await (await gatherEvidence({ dir: outsideOf(at), sources: [file] })).optionsFor("main");
    expect(evidence.checkpoints.map(({ source }) => source)).toContain(file);
    expect(evidence.checkpoints.filter(({ signed }) => !signed)).toEqual([]);
  }
  await recordCall(at, { checkpoints: [{ file }] }, { log });
  expect(warnings).toEqual(Array.from({ length: 3 }, () => ({ chain: "main", file })));
  const evidence = await (await gatherEvidence({ dir: outsideOf(at), sources: [file] })).optionsFor("main");
  expect(await verifyAt({ ...at, dir: outsideOf(at) }, { sources: [file] })).toMatchObject({ exit: 0, bad: null });
  expect(recordsOf(at).filter(({ type }) => type === "checkpoint.torn")).toHaveLength(3);
  expect(evidence.checkpoints.filter(({ source }) => source === file).length).toBeGreaterThanOrEqual(2);
});

test("R9 a file with content other than checkpoints gets none and stays unchanged", async () => {
  using at = tempState();
  const texts = ["listen: {}\n", "SQLite format 3\0", "mcpgw\n", "\n\nlisten: {}\n"];
  for (const text of [...texts, "see\n\nmcpgw/i/main\n", "listen: {}\nmcpgw/image: 1\n2: 3\n"]) {
    const file = join(at.root, "own-purpose");
    writeFileSync(file, text);
    await using opened = await openBroker(at, { checkpoints: [{ file }] });
    await runCall(opened.broker);
    await opened.broker.checkpoint();
    expect(opened.broker.health().checkpointFault).toContain(`${file} holds something other than checkpoints`);
    expect(readFileSync(file, "utf8")).toBe(text);
  }
});

test("R9 a file whose first checkpoint was torn or cut off takes the next two", async () => {
  using at = tempState();
  const cut = `Lg==\nsigned 2026\n\n— mcpgw/i/main ${"A".repeat(91)}\n\nmcpgw/i/main\n2`;
  for (const torn of ["m", "mcpgw", "mcpgw/", "m\n\nmcp", "\0", "mcp\0", "mcp".padEnd(300, "\0"), cut]) {
    const file = join(at.root, "torn");
    writeFileSync(file, torn);
    await using opened = await openBroker(at, { checkpoints: [{ file }] });
    for (const taken of [1, 2]) {
      await runCall(opened.broker);
      await opened.broker.checkpoint();
      expect([torn, opened.broker.health().checkpointFault]).toEqual([torn, null]);
      const text = readFileSync(file, "utf8");
      expect(text).toStartWith(`${torn}\n\nmcpgw/`);
      expect([...originsIn(text)]).toHaveLength(taken);
    }
  }
});

/** Opens a broker with these options and reports its checkpoints; time passes and rounds are counted by hand. */
async function paced(at: TempState, checkpointEvery: { interval: number; records: number }) {
  let [offset, asked] = [0, 0];
  const clock = { now: () => Date.now() * 1000 + offset, mono: () => (asked++, offset) };
  const opened = await openBroker(at, { checkpointEvery }, { clock });
  const { broker } = opened;
  return {
    opened,
    advance: (ms: number) => void (offset += ms * 1000),
    size: () => broker.health().checkpoint?.size ?? 0,
    /** Waits for some more rounds. */
    async later(): Promise<void> {
      await until(() => broker.durable() === broker.health().records, "all is durable");
      const before = asked;
      await until(() => asked > before + 30, "some rounds");
    },
  };
}

test("R9: a checkpoint is made after the configured number of records or, if there are new records, time, and not before", async () => {
  using at = tempState();
  const { opened, advance, size, later } = await paced(at, { interval: 60_000, records: 6 });
  for (let i = 0; i < 2; i++) await runCall(opened.broker);
  await later();
  expect(size()).toBe(0);
  await runCall(opened.broker);
  await until(() => size() === 6, "one for its number of records");
  await runCall(opened.broker);
  await later();
  expect(size()).toBe(6);
  advance(60_000);
  await until(() => size() === 9, "one for its time");
  await runCall(opened.broker);
  await later();
  expect(size()).toBe(9);
  advance(60_000);
  await until(() => size() === 12, "the next one for its time");
  // A checkpoint's own record does not trigger another one, nor does a head that is already noted trigger another note.
  advance(60_000);
  await later();
  expect(size()).toBe(12);
  const head = join(outsideOf(at), "main.head");
  const { mtimeMs } = statSync(head);
  await later();
  expect(statSync(head).mtimeMs).toBe(mtimeMs);
  await opened.close();
});

test("R9 A08: after a log is closed, its head note names the last record, which is that of the last checkpoint", async () => {
  using at = tempState();
  await recordCall(at, {}, { tick: 60_000 });
  const head: unknown = JSON.parse(readFileSync(join(outsideOf(at), "main.head"), "utf8"));
  expect(head).toMatchObject({ seq: 3 });
});

test("R9: a requested checkpoint covers everything recorded before, even while another is being written", async () => {
  await using opened = await openLog();
  for (let round = 0; round < 20; round++) {
    const other = opened.broker.checkpoint();
    await runCall(opened.broker);
    const { records } = opened.broker.health();
    await opened.broker.checkpoint();
    expect(opened.broker.health().checkpoint?.size).toBeGreaterThanOrEqual(records);
    await other;
  }
});

test("R9: records that the last process left uncovered are covered by the first checkpoint after the next start", async () => {
  using at = tempState();
  await recordCall(at);
  // Its process dies before making a checkpoint.
  const dying = await openBroker(at, {}, { tick: 60_000 });
  await runCall(dying.broker);
  await dying.broker.flush();
  const { records } = dying.broker.health();
  dying.store[Symbol.dispose]();
  await using opened = await openBroker(at, {}, { tick: 60_000 });
  await opened.broker.checkpoint();
  expect(opened.broker.health().checkpoint).toMatchObject({ size: records });
  await opened.close();
  expect(recordsOf(at).at(-1)).toMatchObject({ type: "checkpoint", facts: { from: 2, size: records } });
});

test("R9: a checkpoint is made even if its anchor cannot be saved; a busy store is not logged", async () => {
  using at = tempState();
  const warnings: string[] = [];
  const log = { ...silent, warn: (message: string) => void warnings.push(message) };
  const errors = [new StoreBusy("locked"), new StoreFailed("disk full")];
  const saveAnchor = (_anchor: Anchor): never => {
    throw errors.shift() ?? new StoreBusy("locked");
  };
  await using opened = await openBroker(at, {}, { log, tick: 60_000, store: { ...openChain(at.db()), saveAnchor } });
  const told = [[], ["audit anchor not saved"]];
  for (const expected of told) {
    await runCall(opened.broker);
    await opened.broker.flush();
    const { records } = opened.broker.health();
    await opened.broker.checkpoint();
    expect(opened.broker.health().checkpoint?.size).toBe(records);
    expect(warnings).toEqual(expected);
  }
});
