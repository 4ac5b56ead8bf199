import type { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import { type AuditRow, StoreBusy } from "../../core/store.ts";
import { isDamage, opened, transaction, withPath } from "./database.ts";
import { openMigrated } from "./migrate.ts";
import { indexSchema } from "./schema.ts";

/** What the index knows of a record. */
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

/** Fills `index.db`; one that is broken or of another version is thrown away. */
export type IndexWriter = Disposable & {
  /** The last record covered, null when the chain is not indexed. */
  mark(chain: string): { readonly seq: number; readonly leaf: Uint8Array } | null;
  /** Adds entries and moves the mark to `upto`. */
  add(chain: string, upto: Pick<AuditRow, "seq" | "leaf">, entries: readonly IndexEntry[]): void;
  /** Forgets a chain, to index it from its start. */
  forget(chain: string): void;
  /** Begins anew, empty: it was found damaged. */
  renew(): void;
};

/**
 * Writes `index.db`, which the first use opens, creating it anew where it is missing or cannot be used. What finds it
 * damaged later fails, and leaves an empty one behind.
 */
export function openIndexWriter(path: string): IndexWriter {
  /** Null until it is used, and where it could not be made anew, as on a full disk: each further use tries again. */
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

// Synced, though it can be rebuilt: after a power cut a mark without its entries would hide records from every query.
const open = (path: string): Index =>
  opened(openMigrated(path, indexSchema, { wait: 1000, synchronous: "normal" }), indexIn);

function indexIn(db: Database): Index {
  db.run("PRAGMA wal_autocheckpoint = 1000");
  type Text = string | null;
  // By position: looking names up would cost a fifth of all that an insertion does.
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
