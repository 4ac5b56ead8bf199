import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import {
  copyFileSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { readRecord } from "../../src/audit/record.ts";
import type { AuditQuery } from "../../src/core/store.ts";
import { timeOf } from "../../src/core/time-text.ts";
import { openChain } from "../../src/store/sqlite/chain.ts";
import { openIndexWriter } from "../../src/store/sqlite/index-writer.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { rowsOf } from "../suites/store.ts";
import { tempState } from "../support/audit.ts";

function fillIndex(path: string, rows: ReturnType<typeof rowsOf>, upto: number, chain = "main"): void {
  using index = openIndexWriter(path);
  const entries = rows.slice(0, upto).flatMap(({ seq, rec }) => {
    const { type, consumer = null, srv = null, tool = null, st = null, t } = readRecord(rec);
    return type === "call.begin" || type === "checkpoint"
      ? []
      : [{ seq, type, consumer, srv, tool, st, at: timeOf(t) }];
  });
  const last = rows[upto - 1];
  if (last) index.add(chain, last, entries);
}

test("R11 store: records of several chains are merged by time", () => {
  using at = tempState();
  const early = 1_795_248_000_000_000;
  const [one, two] = ["main", "serve-1"].map((name) => openChain(at.db(name)));
  const rows = rowsOf([{ at: early }, { at: early + 3_000_000 }, { at: early + 1 }]);
  one?.append(rows);
  // The fact has a different time than the record.
  const other = rowsOf([{ at: early + 2_000_000, facts: { t: "" } }]);
  two?.append(other);
  const reader = openReader({ state: at.state, main: null });
  const order = (limit?: number) => reader.find({ limit }).rows.map(({ chain, row }) => `${chain}:${row.seq}`);
  // The clock stepped back before main's third record; within a chain the sequence decides.
  const expectOrder = (): void => {
    expect(order()).toEqual(["serve-1:1", "main:3", "main:2", "main:1"]);
    expect(order(2)).toEqual(["serve-1:1", "main:3"]);
  };
  expectOrder();
  fillIndex(join(at.state, "index.db"), rows, 3);
  fillIndex(join(at.state, "index.db"), other, 1, "serve-1");
  expectOrder();
  for (const part of [reader, one, two]) part?.[Symbol.dispose]();
});

const queries = [
  {},
  { consumer: "c1" },
  { server: "s3" },
  { server: "s1", tool: "t3" },
  { tool: "t2" },
  { status: "denied" },
  { status: "success" },
  { status: "error" },
  { type: "call.refused" },
  { type: "call.*", limit: 500 },
  { type: "call.begin", limit: 500 },
  { type: "checkpoint" },
  { consumer: "c1", limit: 40 },
  { since: 1_795_248_000_000_100, until: 1_795_248_000_000_150 },
  { consumer: "c2", status: "ok", limit: 7 },
];

test("R11 A16 store: the index affects how fast records are found, never which", () => {
  using at = tempState();
  using chain = openChain(at.db());
  const statuses = ["ok", "ok", "ok", "denied", "timeout"];
  const rows = rowsOf(
    Array.from({ length: 300 }, (_, i) => ({
      type: i % 100 === 0 ? "checkpoint" : i % 2 === 0 ? "call.begin" : i % 7 === 0 ? "call.refused" : "call.end",
      consumer: `c${i % 3}`,
      srv: `s${i % 4}`,
      tool: `t${i % 5}`,
      ...(i % 2 === 0 ? {} : { st: statuses[i % 5] }),
    })),
  );
  chain.append(rows);
  const answers = () => {
    using reader = openReader({ state: at.state, main: null });
    const found = queries.map((query) => reader.find(query).rows.map(({ row }) => row.seq));
    return found;
  };
  const scanned = answers();
  expect(scanned.every((found) => found.length > 0)).toBe(true);
  expect(scanned[0]).toHaveLength(100);
  const path = join(at.state, "index.db");
  for (const upto of [100, 300]) {
    fillIndex(path, rows, upto);
    expect(answers()).toEqual(scanned);
  }
  const index = new Database(path);
  index.run("UPDATE entry SET consumer = 'c1', st = 'denied', tool = 't3' WHERE seq % 3 = 0");
  index.close(true);
  const misled = answers().map((found, at) => found.filter((seq) => !scanned[at]?.includes(seq)));
  expect(misled.flat()).toEqual([]);
  const broken = new Database(path);
  broken.run("DROP TABLE entry");
  broken.close(true);
  expect(answers()).toEqual(scanned);
  writeFileSync(path, "rubbish");
  expect(answers()).toEqual(scanned);
  rmSync(path);
  const foreign = openIndexWriter(path);
  if (rows[299]) foreign.add("main", { ...rows[299], leaf: new Uint8Array(32) }, []);
  foreign[Symbol.dispose]();
  expect(answers()).toEqual(scanned);
  rmSync(path);
  const empty = openIndexWriter(path);
  if (rows[299]) empty.add("main", rows[299], []);
  empty[Symbol.dispose]();
  using reader = openReader({ state: at.state, main: null });
  const found = () => reader.find({ consumer: "c1" }).rows.length;
  expect(found()).toBe(0);
  rmSync(path);
  fillIndex(path, rows, 300);
  expect(found()).toBe(50);
  expect(answers()).toEqual(scanned);
});

test("T07 store: a copy kept beside a chain does not count as a chain, and a restored chain is read again", () => {
  using at = tempState();
  const path = at.db("main");
  const chain = openChain(path);
  chain.append(rowsOf([{}]));
  chain[Symbol.dispose]();
  const copy = join(dirname(path), "main.old.db");
  copyFileSync(path, copy);
  using reader = openReader({ state: at.state, main: null });
  expect([reader.chains(), reader.last("main")?.seq]).toEqual([["main"], 1]);
  renameSync(path, copy);
  expect(() => reader.last("main")).toThrow(path);
  renameSync(copy, path);
  expect(reader.last("main")?.seq).toBe(1);
});

test("A16 store: an index damaged inside is reported, and each record is read instead", () => {
  using at = tempState();
  const path = join(at.state, "index.db");
  using chain = openChain(at.db("main"));
  const rows = rowsOf(Array.from({ length: 300 }, (_, i) => ({ consumer: `c${i % 100}` })));
  chain.append(rows);
  fillIndex(path, rows, 300);
  // The first page, which is read when it is opened, is intact.
  writeFileSync(path, readFileSync(path).fill(0xa5, 4096));
  const told: string[] = [];
  using reader = openReader({ state: at.state, main: null }, ({ message }) => void told.push(message));
  expect(reader.find({ consumer: "c7" }).rows.map(({ row }) => row.seq)).toEqual([208, 108, 8]);
  expect(told[0]).toStartWith(`${path}: database disk image is malformed`);
});

test("R11 store: both ends of a time range are included, and a type with a star matches every type with that prefix", () => {
  using at = tempState();
  using chain = openChain(at.db("main"));
  const rows = rowsOf([{ type: "call.begin" }, { type: "call.refused" }, { type: "call.end" }]);
  chain.append(rows);
  const second = timeOf(readRecord(rows[1]?.rec ?? "").t);
  using reader = openReader({ state: at.state, main: null });
  const found = (query: AuditQuery) => reader.find(query).rows.map(({ row }) => row.seq);
  for (const _ of ["without an index", "with one"]) {
    expect(found({ since: second })).toEqual([3, 2]);
    expect(found({ until: second })).toEqual([2]);
    expect(found({ until: second, type: "call.refused" })).toEqual([2]);
    expect(found({ type: "call.r*" })).toEqual([2]);
    fillIndex(join(at.state, "index.db"), rows, 3);
  }
});

test("R11 store: no record at a page boundary of a long chain is lost or returned beyond the limit", () => {
  using at = tempState();
  using chain = openChain(at.db());
  const st = (at: number) => (at < 3 || at === 20_002 ? "denied" : "ok");
  chain.append(rowsOf(Array.from({ length: 20_003 }, (_, at) => ({ st: st(at) }))));
  using reader = openReader({ state: at.state, main: null });
  const denied = (limit?: number) => reader.find({ status: "denied", limit }).rows.map(({ row }) => row.seq);
  expect(denied()).toEqual([20_003, 3, 2, 1]);
  expect(denied(2)).toEqual([20_003, 3]);
});

test("R11 store: an index of an older version is not used", () => {
  using at = tempState();
  const path = join(at.state, "index.db");
  using chain = openChain(at.db());
  const rows = rowsOf([{ consumer: "agent" }]);
  chain.append(rows);
  fillIndex(path, rows, 1);
  {
    using db = new Database(path);
    db.run("DELETE FROM entry");
  }
  const found = (): number => {
    using reader = openReader({ state: at.state, main: null });
    return reader.find({ consumer: "agent" }).rows.length;
  };
  expect(found()).toBe(0);
  {
    using db = new Database(path);
    db.run("PRAGMA user_version = 1");
  }
  expect(found()).toBe(1);
});

test.skipIf(process.platform !== "linux")(
  "R11 store: a replaced or unusable index is not kept open, nor any file once the reader ends (needs Linux)",
  () => {
    using at = tempState();
    const path = join(at.state, "index.db");
    const open = (): string[] => {
      const fds = readdirSync("/proc/self/fd").map((fd) => `/proc/self/fd/${fd}`);
      // All except the one of this very read.
      const there = fds.filter((fd) => lstatSync(fd, { throwIfNoEntry: false }));
      return there.map((fd) => readlinkSync(fd, { encoding: "utf8" })).filter((file) => file.startsWith(at.state));
    };
    const rows = rowsOf([{ consumer: "agent" }]);
    const chain = openChain(at.db("main"));
    chain.append(rows);
    chain[Symbol.dispose]();
    const reader = openReader({ state: at.state, main: null });
    for (let round = 0; round < 3; round++) {
      rmSync(path, { force: true });
      fillIndex(path, rows, 1);
      expect(reader.find({ consumer: "agent" }).rows).toHaveLength(1);
    }
    expect(open().filter((file) => file.endsWith("(deleted)"))).toEqual([]);
    rmSync(path);
    using older = new Database(path);
    older.run("PRAGMA user_version = 1");
    older.close(true);
    expect(reader.find({ consumer: "agent" }).rows).toHaveLength(1);
    expect(open().filter((file) => file.includes("index.db"))).toEqual([]);
    reader[Symbol.dispose]();
    expect(open()).toEqual([]);
  },
);
