import { Database } from "bun:sqlite";
import { statSync } from "node:fs";
import type { AuditReader, AuditRow, PayloadRow, SubjectRow } from "../../core/store.ts";
import { opened, openReadable, withPath } from "./database.ts";
import { version } from "./migrate.ts";
import { type ChainHome, chainNames, chainPath, indexPath } from "./paths.ts";
import { auditSchema } from "./schema.ts";
import { createSearch, type Damaged } from "./search.ts";

/** Milliseconds that a reader may wait for a writer; in WAL mode it does so only while a log is being recovered. */
const wait = 250;

/**
 * Opens all chains for reading, also those that appear later. Each read is one short snapshot, of the files that are
 * there by then, whatever was open before. `damaged` is told of an index that is damaged.
 */
export function openReader(home: ChainHome, damaged?: Damaged): AuditReader {
  const open = new Map<string, Chain>();
  const chain = (name: string): Chain => {
    const path = chainPath(home, name);
    const known = open.get(name);
    if (known && known.files === filesAt(path)) return known;
    open.delete(name);
    // SQLite leaves a log alone that took the place of the one it had open, as it has one that a writer uses.
    known?.db.close(true);
    const opened = openOne(path);
    open.set(name, opened);
    return opened;
  };
  const names = (): string[] => chainNames(home);
  const read = <T>(name: string, work: () => T): T => withPath(chainPath(home, name), work);
  const search = createSearch(indexPath(home.state), (name, work) => read(name, () => work(chain(name).db)), damaged);

  return {
    chains: names,
    page: (name, from, limit) => read(name, () => chain(name).page.all(from, limit)),
    last: (name) => read(name, () => chain(name).last.get()),
    find: (query) => search.find(names(), query),
    payloads: (name, from, upto = from) => read(name, () => chain(name).payloads.all(from, upto)),
    subject: (name, id) => read(name, () => chain(name).subject.get(id)),
    integrity: (name) => read(name, () => integrity(chain(name).db)),
    [Symbol.dispose]() {
      search.close();
      for (const { db } of open.values()) db.close(true);
      open.clear();
    },
  };
}

type Chain = ReturnType<typeof openOne>;

/** A payload without its salt or its body is none: nothing shows that it was recorded. */
const whole = "SELECT seq, part, salt, body FROM payload WHERE salt IS NOT NULL AND body IS NOT NULL";

const openOne = (path: string) => opened(openReadable(path, wait), (db) => chainOf(db, path));

function chainOf(db: Database, path: string) {
  // SQLite opens the write-ahead log, and makes it where there is none, at the first read.
  version(db, auditSchema, path);
  const files = filesAt(path);
  return {
    db,
    files,
    page: db.prepare<AuditRow, [number, number]>(
      "SELECT seq, rec, leaf FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?",
    ),
    last: db.prepare<AuditRow, []>("SELECT seq, rec, leaf FROM audit ORDER BY seq DESC LIMIT 1"),
    payloads: db.prepare<PayloadRow, [number, number]>(`${whole} AND seq BETWEEN ? AND ? ORDER BY seq, part`),
    subject: db.prepare<SubjectRow, [string]>(
      "SELECT id, salt, value FROM subject WHERE id = ? AND salt IS NOT NULL AND value IS NOT NULL",
    ),
  };
}

/** Which files a database is made of, whatever their names: its own and its write-ahead log. */
function filesAt(path: string): string {
  const stats = [path, `${path}-wal`].map((file) => statSync(file, { throwIfNoEntry: false }));
  return stats.map((found) => (found ? `${found.dev}:${found.ino}` : "none")).join(" ");
}

function integrity(db: Database): string | null {
  const rows = db.query<{ integrity_check: string }, []>("PRAGMA integrity_check(1)").all();
  const found = rows[0]?.integrity_check ?? "no answer";
  return found === "ok" ? oddSchema(db) : found;
}

/** A view that shows less than its table, or a trigger, would falsify what is read of records that are all in order. */
function oddSchema(db: Database): string | null {
  using made = new Database(":memory:");
  for (const script of auditSchema.slice(0, version(db, auditSchema, db.filename))) made.run(script);
  const [odd] = schemaOf(made).symmetricDifference(schemaOf(db));
  return odd === undefined ? null : `its tables and views are not those that mcpgw makes: ${odd}`;
}

/** Everything a database is made of, but statistics that `ANALYZE` leaves. */
function schemaOf(db: Database): Set<string> {
  const rows = db.query<{ type: string; name: string; sql: string | null }, []>(
    "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'",
  );
  return new Set(rows.all().map(({ type, name, sql }) => `${type} ${name}, ${sql ?? "made by SQLite"}`));
}
