import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { StoreFailed } from "../../src/core/store.ts";
import { migrate, openMigrated, version } from "../../src/store/sqlite/migrate.ts";
import { TempDir } from "../support/temp-dir.ts";

const first = "CREATE TABLE thing(id INTEGER PRIMARY KEY) STRICT; INSERT INTO thing VALUES (7)";
const second = "ALTER TABLE thing ADD COLUMN name TEXT NOT NULL DEFAULT 'none'";
const things = (db: Database) => db.query("SELECT * FROM thing").all();

test("T57 store: an older database is migrated, keeps its rows, and runs each script once", () => {
  const db = new Database(":memory:", { strict: true });
  migrate(db, [first], "x.db");
  expect(things(db)).toEqual([{ id: 7 }]);
  for (let again = 0; again < 2; again++) migrate(db, [first, second], "x.db");
  expect(things(db)).toEqual([{ id: 7, name: "none" }]);
  expect(version(db, [first, second], "x.db")).toBe(2);
  expect(() => migrate(db, [first], "x.db")).toThrow("x.db has schema 2, but this mcpgw supports at most 1;");
});

test("T57 store: a migration that fails leaves the database as it was", () => {
  const db = new Database(":memory:", { strict: true });
  migrate(db, [first], "x.db");
  expect(() => migrate(db, [first, second, "INSERT INTO nowhere VALUES (1)"], "x.db")).toThrow(StoreFailed);
  expect(things(db)).toEqual([{ id: 7 }]);
  expect(version(db, [first], "x.db")).toBe(1);
});

test("T57 store: a database appears with all its tables or not at all, and an existing one is left unchanged", () => {
  using at = new TempDir();
  const path = at.path("x.db");
  const open = (...scripts: string[]) => openMigrated(path, scripts, { wait: 0, synchronous: "full" }).close(true);
  expect(() => open(first, "INSERT INTO nowhere VALUES (1)")).toThrow(StoreFailed);
  expect(readdirSync(at.dir)).toEqual([]);
  for (const script of [first, "CREATE TABLE other(id INTEGER)"]) open(script);
  expect(readdirSync(at.dir)).toEqual(["x.db"]);
  using db = new Database(path, { readonly: true });
  expect(things(db)).toEqual([{ id: 7 }]);
  expect(db.query("PRAGMA journal_mode").get()).toEqual({ journal_mode: "wal" });
});
