import type { Database } from "bun:sqlite";
import { type Anchor, type AuditRow, type AuditStore, renewLog, StoreFailed } from "../../core/store.ts";
import { opened, transaction } from "./database.ts";
import { openMigrated } from "./migrate.ts";
import { openOnFile } from "./named.ts";
import { auditSchema } from "./schema.ts";
import { openWal, type Wal } from "./wal.ts";

/** Interval after which an append checks again that the files still exist, ms. */
const checkEvery = 1000;

/** Maximum time that opening waits, ms: recovery after a killed writer locks the database. */
const patience = 5_000;

/** Opens a chain's only writer; the caller holds its lock. Later, a locked database is `StoreBusy` at once. */
export const openChain = (path: string): AuditStore => openOnFile(path, renewLog, () => open(path));

function open(path: string): AuditStore {
  return opened(openMigrated(path, auditSchema, { wait: patience, synchronous: "normal" }), (db) => {
    // A write, so that the write-ahead log exists before it is opened.
    transaction(db, () => db.run(`PRAGMA user_version = ${auditSchema.length}`));
    db.run("PRAGMA busy_timeout = 0");
    return chainStore(db, openWal(path));
  });
}

function chainStore(db: Database, wal: Wal): AuditStore {
  const statements = prepare(db);
  let checked = performance.now();

  function refuseWhenLost(): void {
    const now = performance.now();
    if (now - checked < checkEvery) return;
    const fault = wal.fault();
    if (fault) throw new StoreFailed(fault);
    checked = now;
  }

  return {
    append(rows, subjects = []) {
      refuseWhenLost();
      const write = (): void => {
        for (const { seq, rec, leaf, payload } of rows) {
          statements.record.run(seq, rec, leaf, payload?.part ?? null, payload?.salt ?? null, payload?.body ?? null);
        }
        for (const { id, salt, value } of subjects) statements.subject.run(id, salt, value);
      };
      transaction(db, write);
    },
    sync: () => wal.sync(),
    last: () => statements.last.get(),
    page: (from, limit) => statements.page.all(from, limit),
    anchor: () => statements.anchor.get(),
    saveAnchor({ size, note, frontier, settled }) {
      transaction(db, () => {
        statements.saveAnchor.run(size, note, frontier, settled);
        statements.forgetAnchors.run(size);
      });
    },
    unfinished: () => unended(statements.calls.iterate(statements.anchor.get()?.settled ?? 0)),
    fault: () => wal.fault(),
    [Symbol.dispose]() {
      wal.close();
      db.close(true);
    },
  };
}

type Begin = Omit<AuditRow, "leaf">;
type CallRow = Begin & { readonly call: string; readonly type: string };

function unended(rows: Iterable<CallRow>): Begin[] {
  const open = new Map<string, Begin>();
  for (const { call, type, seq, rec } of rows) {
    if (type === "call.begin") open.set(call, { seq, rec });
    // A question during a call does not end the call.
    else if (type !== "call.input") open.delete(call);
  }
  return [...open.values()];
}

function prepare(db: Database) {
  return {
    record: db.prepare<
      never,
      [number, string | Uint8Array, Uint8Array, string | null, Uint8Array | null, string | null]
    >("INSERT INTO audit(seq, rec, leaf, part, salt, body) VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?)"),
    subject: db.prepare<never, [string, Uint8Array, string]>("INSERT OR IGNORE INTO subject VALUES (?, ?, ?)"),
    last: db.prepare<AuditRow, []>("SELECT seq, rec, leaf FROM audit ORDER BY seq DESC LIMIT 1"),
    page: db.prepare<AuditRow, [number, number]>(
      "SELECT seq, rec, leaf FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?",
    ),
    anchor: db.prepare<Anchor, []>("SELECT size, note, frontier, settled FROM anchor ORDER BY size DESC LIMIT 1"),
    saveAnchor: db.prepare<never, [number, string, Uint8Array, number]>(
      "INSERT OR REPLACE INTO anchor VALUES (?, ?, ?, ?)",
    ),
    forgetAnchors: db.prepare<never, [number]>("DELETE FROM anchor WHERE size <> ?"),
    calls: db.prepare<CallRow, [number]>(
      "SELECT call, type, seq, rec FROM record WHERE seq >= ? AND call IS NOT NULL ORDER BY seq",
    ),
  };
}
