import type { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import { type AuditRow, StoreBusy } from "../../core/store.ts";
import { isDamage, opened, transaction, withPath } from "./database.ts";
import { openMigrated } from "./migrate.ts";
import { indexSchema } from "./schema.ts";

/** The indexed members of a record. */
export type IndexEntry = {
  readonly seq: number;
  readonly consumer: string | null;
  readonly srv: string | null;
  readonly tool: string | null;
  readonly st: string | null;
  readonly type: string;
  /** Epoch µs. */
  readonly at: number;
};

/** Fills `index.db`; a broken one or one of another version is deleted. */
export type IndexWriter = Disposable & {
  /** Returns the last record covered, or null if the chain is not indexed. */
  mark(chain: string): { readonly seq: number; readonly leaf: Uint8Array } | null;
  /** Adds entries and moves the mark to `upto`. */
  add(chain: string, upto: Pick<AuditRow, "seq" | "leaf">, entries: readonly IndexEntry[]): void;
  /** Deletes a chain's entries, so that it is indexed again from its start. */
  forget(chain: string): void;
  /** Starts over with an empty index, because it was found damaged. */
  renew(): void;
};

/**
 * Writes `index.db`, recreating it at first use if it is missing or unusable. An operation that finds it damaged later
 * fails and leaves an empty index.
 */
export function openIndexWriter(path: string): IndexWriter {
  /** Null until first use, and after it could not be recreated, as on a full disk; each further use tries again. */
  let index: Index | null = null;
  const renew = (): void => {
    index?.[Symbol.dispose]();
    index = null;
    index = openNew(path);
  };
  const run = <T>(work: (index: Index) => T): T => {
    try {
      return withPath(path, () => work((index ??= openUsable(path))));
    } catch (error) {
      if (isDamage(error)) renew();
      throw error;
    }
  };
  return {
    mark: (chain) => run((current) => current.mark(chain)),
    add: (...given) => run((current) => current.add(...given)),
    forget: (chain) => run((current) => current.forget(chain)),
    renew,
    [Symbol.dispose]: () => index?.[Symbol.dispose](),
  };
}

type Index = Omit<IndexWriter, "renew">;

function openUsable(path: string): Index {
  try {
    return open(path);
  } catch (error) {
    if (error instanceof StoreBusy) throw error;
    return openNew(path);
  }
}

function openNew(path: string): Index {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
  return open(path);
}

// Synced although it can be rebuilt: after a power cut, a mark without its entries would hide records from every query.
const open = (path: string): Index =>
  opened(openMigrated(path, indexSchema, { wait: 1000, synchronous: "normal" }), indexIn);

function indexIn(db: Database): Index {
  db.run("PRAGMA wal_autocheckpoint = 1000");
  type Text = string | null;
  // Parameters by position: looking up names would cost a fifth of the whole insertion.
  const insert = db.prepare<never, [string, number, Text, Text, Text, Text, string, number]>(
    "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
  );

  return {
    mark: (chain) =>
      db.query<{ seq: number; leaf: Uint8Array }, [string]>("SELECT seq, leaf FROM mark WHERE chain = ?").get(chain),
    add(chain, upto, entries) {
      transaction(db, () => {
        for (const { seq, consumer, srv, tool, st, type, at } of entries) {
          insert.run(chain, seq, consumer, srv, tool, st, type, at);
        }
        db.run("INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", [chain, upto.seq, upto.leaf]);
      });
    },
    forget(chain) {
      transaction(db, () => {
        db.run("DELETE FROM entry WHERE chain = ?", [chain]);
        db.run("DELETE FROM mark WHERE chain = ?", [chain]);
      });
    },
    [Symbol.dispose]: () => db.close(true),
  };
}
