import { Database } from "bun:sqlite";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type AuditRow, StoreBusy } from "../../core/store.ts";
import { guarded, transaction } from "./database.ts";
import { openMigrated } from "./migrate.ts";
import { earlierIndexes, indexFile, indexSchema } from "./schema.ts";

/** What the index knows of a record. */
export type IndexEntry = {
  readonly seq: number;
  readonly consumer: string | null;
  readonly srv: string | null;
  readonly tool: string | null;
  readonly st: string | null;
  readonly type: string;
  readonly call: string | null;
  /** Epoch µs. */
  readonly at: number;
};

/** Fills the index; one that is broken is thrown away. */
export type IndexWriter = {
  /** The last record covered, null when the chain is not indexed. */
  mark(chain: string): { readonly seq: number; readonly leaf: Uint8Array } | null;
  /** Adds entries and moves the mark to `upto`. */
  add(chain: string, upto: Pick<AuditRow, "seq" | "leaf">, entries: readonly IndexEntry[]): void;
  /** Forgets a chain, to index it from its start. */
  forget(chain: string): void;
  close(): void;
};

/** Opens the index of a state directory, creating it anew where it is missing or cannot be used. Throws `StoreBusy`. */
export function openIndexWriter(stateDir: string): IndexWriter {
  for (const name of earlierIndexes) removeUnused(join(stateDir, name));
  const path = join(stateDir, indexFile);
  try {
    return open(path);
  } catch (error) {
    if (error instanceof StoreBusy) throw error;
    for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
    return open(path);
  }
}

/** Removes a database that nobody has open. Any other stays for now, and so does one that cannot be opened. */
function removeUnused(path: string): void {
  if (!existsSync(path)) return;
  try {
    using db = new Database(path, { readwrite: true, create: false });
    db.run("PRAGMA locking_mode = EXCLUSIVE");
    // Only the one connection that is left may end the log, and SQLite removes it and the memory beside it.
    db.run("PRAGMA journal_mode = DELETE");
    rmSync(path);
  } catch {
    // It costs no more than its place on the disk.
  }
}

function open(path: string): IndexWriter {
  const db = openMigrated(path, indexSchema, { wait: 1000, synchronous: "off" });
  type Text = string | null;
  // By position: looking names up would cost a fifth of all that an insertion does.
  const insert = db.prepare<never, [string, number, Text, Text, Text, Text, string, Text, number]>(
    "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
  );

  return {
    mark: (chain) =>
      guarded(() =>
        db.query<{ seq: number; leaf: Uint8Array }, [string]>("SELECT seq, leaf FROM mark WHERE chain = ?").get(chain),
      ),
    add(chain, upto, entries) {
      transaction(db, () => {
        for (const { seq, consumer, srv, tool, st, type, call, at } of entries) {
          insert.run(chain, seq, consumer, srv, tool, st, type, call, at);
        }
        db.run("INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", [chain, upto.seq, upto.leaf]);
      });
      db.run("PRAGMA wal_checkpoint(PASSIVE)");
    },
    forget(chain) {
      transaction(db, () => {
        db.run("DELETE FROM entry WHERE chain = ?", [chain]);
        db.run("DELETE FROM mark WHERE chain = ?", [chain]);
      });
    },
    close: () => db.close(true),
  };
}
