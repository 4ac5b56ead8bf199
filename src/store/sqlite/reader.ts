import { Database } from "bun:sqlite";
import { statSync } from "node:fs";
import type { AuditReader, AuditRow, PayloadRow, SubjectRow } from "../../core/store.ts";
import { opened, openReadable, withPath } from "./database.ts";
import { version } from "./migrate.ts";
import { type ChainHome, chainNames, chainPath, indexPath } from "./paths.ts";
import { auditSchema } from "./schema.ts";
import { createSearch, type Damaged } from "./search.ts";

/** Maximum time a reader waits for a writer, ms; in WAL mode it waits only while a log is being recovered. */
const wait = 250;

/**
 * Opens all chains for reading, including later ones. Each read is one short snapshot of the files that exist at that
 * time, whatever was open before. `damaged` is called if the index is damaged.
 */
export function openReader(home: ChainHome, damaged?: Damaged): AuditReader {
  const open = new Map<string, Chain>();
  const chain = (name: string): Chain => {
    const path = chainPath(home, name);
    const known = open.get(name);
    if (known && known.files === filesAt(path)) return known;
    open.delete(name);
    // Safe for a new log: SQLite deletes neither a log that replaced the one it had open nor one that a writer uses.
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

/** A payload without its salt or its body does not count: nothing proves that it was recorded. */
const whole = "SELECT seq, part, salt, body FROM payload WHERE salt IS NOT NULL AND body IS NOT NULL";

const openOne = (path: string) => opened(openReadable(path, wait), (db) => chainOf(db, path));

function chainOf(db: Database, path: string) {
  // SQLite opens the write-ahead log, creating it if necessary, at the first read.
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

/** Identifies the files of a database, whatever their names: the file itself and its write-ahead log. */
function filesAt(path: string): string {
  const stats = [path, `${path}-wal`].map((file) => statSync(file, { throwIfNoEntry: false }));
  return stats.map((found) => (found ? `${found.dev}:${found.ino}` : "none")).join(" ");
}

function integrity(db: Database): string | null {
  const rows = db.query<{ integrity_check: string }, []>("PRAGMA integrity_check(1)").all();
  const found = rows[0]?.integrity_check ?? "no answer";
  return found === "ok" ? foreignSchema(db) : found;
}

/** Finds foreign schema objects: a narrower view or a trigger would falsify what is read from intact records. */
function foreignSchema(db: Database): string | null {
  using made = new Database(":memory:");
  for (const script of auditSchema.slice(0, version(db, auditSchema, db.filename))) made.run(script);
  const [odd] = schemaOf(made).symmetricDifference(schemaOf(db));
  return odd === undefined ? null : `its tables and views are not those that mcpgw creates: ${odd}`;
}

/** Returns the schema of a database, except the statistics tables of `ANALYZE`. */
function schemaOf(db: Database): Set<string> {
  const rows = db.query<{ type: string; name: string; sql: string | null }, []>(
    "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'",
  );
  return new Set(rows.all().map(({ type, name, sql }) => `${type} ${name}, ${sql ?? "made by SQLite"}`));
}
