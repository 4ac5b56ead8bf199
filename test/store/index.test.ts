import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { StoreBusy } from "../../src/core/store.ts";
import { type IndexEntry, openIndexWriter } from "../../src/store/sqlite/index-writer.ts";
import { TempDir } from "../support/temp-dir.ts";
import { moduleAt, noStrace, traced } from "../support/processes.ts";

const entry: Omit<IndexEntry, "seq"> = {
  consumer: "c",
  srv: "s",
  tool: "t",
  st: "ok",
  type: "call.end",
  at: 1,
};

function fill(path: string, rows: number): void {
  using index = openIndexWriter(path);
  const entries = Array.from({ length: rows }, (_, seq) => ({ ...entry, seq }));
  index.add("main", { seq: rows, leaf: new Uint8Array(32) }, entries);
}

test("store: an index found damaged inside fails once and starts over", () => {
  using at = new TempDir();
  const path = at.path("index.db");
  fill(path, 300);
  // The first page, which is read when it is opened, is intact.
  writeFileSync(path, readFileSync(path).fill(0xa5, 4096));
  const index = openIndexWriter(path);
  expect(() => index.mark("main")).toThrow(`${path}: database disk image is malformed`);
  expect(index.mark("main")).toBeNull();
  index[Symbol.dispose]();
  fill(path, 300);
  using anew = openIndexWriter(path);
  expect(anew.mark("main")?.seq).toBe(300);
});

test("A16 store: an index continues from its mark, and can forget one chain without the others", () => {
  using at = new TempDir();
  const path = at.path("index.db");
  fill(path, 2);
  fill(path, 3);
  using index = openIndexWriter(path);
  index.add("serve-1", { seq: 9, leaf: new Uint8Array(32) }, [{ ...entry, seq: 8 }]);
  const marks = () => ["main", "serve-1"].map((chain) => index.mark(chain)?.seq);
  expect(marks()).toEqual([3, 9]);
  index.forget("main");
  expect(marks()).toEqual([undefined, 9]);
  using db = new Database(path, { readonly: true });
  expect(db.query("SELECT chain, seq FROM entry").all()).toEqual([{ chain: "serve-1", seq: 8 }]);
});

test("A16 store: an index of an earlier version, with other columns, is rebuilt", () => {
  using at = new TempDir();
  const path = at.path("index.db");
  {
    using earlier = new Database(path);
    earlier.run(
      "CREATE TABLE entry(chain TEXT, seq INTEGER, call TEXT, PRIMARY KEY(chain, seq)) STRICT, WITHOUT ROWID",
    );
    earlier.run("CREATE INDEX entry_call ON entry(call)");
    earlier.run("CREATE TABLE mark(chain TEXT PRIMARY KEY, seq INTEGER NOT NULL, leaf BLOB NOT NULL) STRICT");
    earlier.run("INSERT INTO mark VALUES ('main', 9, x'00')");
    earlier.run("PRAGMA user_version = 2");
  }
  using index = openIndexWriter(path);
  expect(index.mark("main")).toBeNull();
  fill(path, 3);
  expect(index.mark("main")?.seq).toBe(3);
});

test("A16 store: an index locked by another process is busy and is kept", () => {
  using at = new TempDir();
  const path = at.path("index.db");
  fill(path, 3);
  const { ino } = statSync(path);
  using other = new Database(path);
  other.run("PRAGMA locking_mode = EXCLUSIVE");
  other.run("DELETE FROM entry WHERE seq = 0");
  using index = openIndexWriter(path);
  expect(() => index.mark("main")).toThrow(StoreBusy);
  expect(statSync(path).ino).toBe(ino);
});

test("T04 store: an index that could not be recreated is tried again at its next use", () => {
  using at = new TempDir();
  mkdirSync(at.path("state"));
  const path = at.path("state/index.db");
  using index = openIndexWriter(path);
  renameSync(at.path("state"), at.path("away"));
  for (let round = 0; round < 2; round++) expect(() => index.renew()).toThrow("ENOENT");
  expect(() => index.mark("main")).toThrow("ENOENT");
  renameSync(at.path("away"), at.path("state"));
  index.add("main", { seq: 7, leaf: new Uint8Array(32) }, []);
  expect(index.mark("main")?.seq).toBe(7);
});

test.skipIf(noStrace)(
  "T02 A16 store: a power cut leaves no mark without entries in the index: its log is synced before it is copied (needs strace)",
  async () => {
    using at = new TempDir();
    const code = `
      import { openIndexWriter } from ${moduleAt("store/sqlite/index-writer.ts")};
      const index = openIndexWriter(${JSON.stringify(at.path("index.db"))});
      const entry = { consumer: "c".repeat(1000), srv: "s", tool: "t", st: "ok", type: "call.end", at: 1 };
      for (let seq = 0; seq < 5000; seq += 500) {
        const entries = Array.from({ length: 500 }, (_, more) => ({ ...entry, seq: seq + more }));
        index.add("main", { seq: seq + 499, leaf: new Uint8Array(32) }, entries);
      }
      index[Symbol.dispose]();`;
    const events = (await traced("pwrite64,fdatasync,fsync", code))
      .split("\n")
      .map((line) => {
        const [, call = "", suffix = ""] = /(pwrite64|fdatasync|fsync)\(\d+<[^>]*index\.db(-wal)?>/.exec(line) ?? [];
        if (call === "") return "";
        if (call === "pwrite64") return suffix ? "l" : "d";
        return suffix ? "L" : "D";
      })
      .join("");
    // Only pages that the log has on stable storage are written, and they are on stable storage themselves before the
    // log restarts.
    expect(events).toMatch(/Ld+Dl/);
    expect(events).not.toMatch(/ld|dl/);
  },
  30_000,
);
