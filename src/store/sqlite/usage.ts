import type { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import type { CountedUsage, UsageKey, UsageQuery, UsageRow, UsageStore } from "../../core/store.ts";
import { hoursOf, StoreBusy } from "../../core/store.ts";
import { openReadable, transaction } from "./database.ts";
import { openMigrated, version } from "./migrate.ts";
import { stateSchema } from "./schema.ts";
import { onState, openOnState } from "./state-file.ts";

const add = `INSERT INTO usage VALUES ($consumer, $server, $tool, $hour, $calls, $errors, $denied, $latencySumUs, $bytesIn, $bytesOut)
  ON CONFLICT DO UPDATE SET calls = calls + $calls, errors = errors + $errors, denied = denied + $denied,
    latency_us = latency_us + $latencySumUs, bytes_in = bytes_in + $bytesIn, bytes_out = bytes_out + $bytesOut`;
const keys = ["consumer", "server", "tool", "hour"] as const satisfies UsageKey[];
const select = (apart: readonly UsageKey[]) =>
  `SELECT ${keys.map((key) => (apart.includes(key) ? key : `${key === "hour" ? 0 : "''"} AS ${key}`)).join()},
    total(calls) AS calls, total(errors) AS errors, total(denied) AS denied, total(latency_us) AS latencySumUs,
    total(bytes_in) AS bytesIn, total(bytes_out) AS bytesOut FROM usage
  WHERE (?1 IS NULL OR consumer = ?1) AND hour >= ?2 AND hour < ?3
  GROUP BY ${[...apart, "denied < calls"].join()}`;
/** Maximum time a statement waits for another process, ms. */
const wait = 2000;

type Usage = UsageStore & Disposable;

/** Opens the usage rollups in `mcpgw.db`; meant for the Worker, so a statement may wait for other processes. */
export const openUsageStore = (path: string): Usage => openOnState(path, () => open(path));

function open(path: string): Usage {
  // Not synced: a power cut loses counts and mark together, and the missing part is counted again from the chain.
  const db = openMigrated(path, stateSchema, { wait, synchronous: "normal" });
  return {
    usageMark: (chain) => usageMark(db, chain),
    apply(chain, from, upto, rows) {
      transaction(db, () => {
        if (usageMark(db, chain) !== from)
          throw new StoreBusy(`usage of chain ${chain} was counted by another process`);
        const insert = db.query<never, UsageRow>(add);
        for (const row of rows) insert.run(row);
        setUsageMark(db, chain, upto);
      });
    },
    counted: (query) => countedIn(db, query),
    [Symbol.dispose]: () => db.close(true),
  };
}

/** Returns the last record of a chain that was counted, 0 before the first. */
export const usageMark = (db: Database, chain: string): number =>
  db.query<{ seq: number }, [string]>("SELECT seq FROM usage_mark WHERE chain = ?").get(chain)?.seq ?? 0;

/** Stores up to which record a chain is counted. */
export const setUsageMark = (db: Database, chain: string, seq: number): void =>
  void db.run("INSERT OR REPLACE INTO usage_mark VALUES (?, ?)", [chain, seq]);

/** Reads the usage as last counted, without opening `mcpgw.db` for writing; empty if there is no such file. */
export function readUsage(path: string, query: UsageQuery): CountedUsage {
  if (!existsSync(path)) return { rows: [], marks: new Map() };
  return onState(path, () => {
    using db = openReadable(path, wait);
    version(db, stateSchema, path);
    return countedIn(db, query);
  });
}

/** Reads usage and marks in one snapshot, since another process may be counting. */
function countedIn(db: Database, query: UsageQuery): CountedUsage {
  return db.transaction(() => ({ rows: usageIn(db, query), marks: marksIn(db) }))();
}

function marksIn(db: Database): Map<string, number> {
  const rows = db.query<{ chain: string; seq: number }, []>("SELECT chain, seq FROM usage_mark").all();
  return new Map(rows.map(({ chain, seq }) => [chain, seq]));
}

function usageIn(db: Database, query: UsageQuery): UsageRow[] {
  const rows = db.query<UsageRow, [string | null, number, number]>(select(query.apart ?? keys));
  return rows.all(query.consumer ?? null, ...hoursOf(query));
}
