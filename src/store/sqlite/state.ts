import type { Database, SQLQueryBindings } from "bun:sqlite";
import { statSync } from "node:fs";
import type { Era } from "../../core/inbound.ts";
import {
  type RememberedEras,
  type KeyStore,
  type ListStore,
  type Remembered,
  type StoredKey,
  StoreFailed,
} from "../../core/store.ts";
import { openMigrated } from "./migrate.ts";
import { stateSchema } from "./schema.ts";
import { openOnState } from "./state-file.ts";
import { setUsageMark, usageMark } from "./usage.ts";
import { fileFault } from "./wal.ts";

/** `mcpgw.db`: keys, tombstones, the freeze and remembered lists. Each write is synced before it returns. */
export type StateStore = Disposable &
  KeyStore &
  ListStore & {
    /** Sequence before which every key change recorded in chain `main` is in the store; 0 for a new store. */
    keysAsOf(): number;
    setKeysAsOf(seq: number): void;
    /** Returns the last record of a chain whose usage was counted, 0 before the first. */
    usageMark(chain: string): number;
    setUsageMark(chain: string, seq: number): void;
  };

/** Maximum time a write waits for a short one of the Worker or another process, ms; writes are rare here. */
const wait = 500;

/** Opens `mcpgw.db`, creating it if it is missing; throws `StoreFailed` if a newer mcpgw wrote it. */
export const openStateStore = (path: string): StateStore => openOnState(path, () => open(path));

function open(path: string): StateStore {
  const db = openMigrated(path, stateSchema, { wait, synchronous: "full" });
  return {
    ...keyStore(db, writerOf(db, path)),
    ...listStore(db),
    keysAsOf: () => valueOf(db, "knows-log"),
    setKeysAsOf: (seq) => void db.run(setValue, ["knows-log", seq]),
    usageMark: (chain) => usageMark(db, chain),
    setUsageMark: (chain, seq) => setUsageMark(db, chain, seq),
    [Symbol.dispose]: () => db.close(true),
  };
}

type Write = (sql: string, values: SQLQueryBindings[]) => void;

/** Writes only while `path` still is the opened file: nobody would find data written to another. */
function writerOf(db: Database, path: string): Write {
  const opened = statSync(path);
  return (sql, values) => {
    const fault = fileFault(path, opened);
    if (fault) throw new StoreFailed(fault);
    db.run(sql, values);
  };
}

const stored = <T>(json: string): T => JSON.parse(json) as T; // only the functions below write these columns

type KeyRow = { readonly body: string; readonly revoked_at: number | null };

function keyStore(db: Database, write: Write): KeyStore {
  const version = versionOf(db);
  return {
    version,
    keys() {
      const rows = db.query<KeyRow, []>("SELECT body, revoked_at FROM api_key ORDER BY id").all();
      return rows.map(({ body, revoked_at }) => ({ ...stored<StoredKey>(body), revokedAt: revoked_at }));
    },
    addKey(key) {
      const insert = "INSERT INTO api_key(id, hash, body, revoked_at) VALUES (?, ?, ?, ?)";
      write(insert, [key.id, key.hash, JSON.stringify(key), key.revokedAt]);
    },
    revokeKey(id, at) {
      write("UPDATE api_key SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", [at, id]);
    },
    tombstones() {
      const rows = db.query<{ id: string }, []>("SELECT id FROM tombstone ORDER BY id").all();
      return rows.map(({ id }) => id);
    },
    addTombstone(id, at) {
      write("INSERT OR IGNORE INTO tombstone VALUES (?, ?)", [id, at]);
    },
    frozen: () => valueOf(db, "frozen") === 1,
    setFrozen: (on) => write(setValue, ["frozen", on ? 1 : 0]),
    uses() {
      const select = "SELECT substr(name, 6) AS id, value FROM flag WHERE name GLOB 'used:*'";
      const rows = db.query<{ id: string; value: number }, []>(select).all();
      return new Map(rows.map(({ id, value }) => [id, value]));
    },
    saveUses(uses) {
      const later = `INSERT INTO flag SELECT 'used:' || key, value FROM json_each(?) WHERE true
        ON CONFLICT DO UPDATE SET value = max(value, excluded.value)`;
      write(later, [JSON.stringify(Object.fromEntries(uses))]);
    },
  };
}

function valueOf(db: Database, name: string): number {
  const select = "SELECT value FROM flag WHERE name = ?";
  return db.query<{ value: number }, [string]>(select).get(name)?.value ?? 0;
}

const setValue = "INSERT OR REPLACE INTO flag VALUES (?, ?)";

// A change of the file says little, since usage is counted into it all the time. Counting the rows is enough, because
// keys are only ever added and revoked.
function versionOf(db: Database): () => string {
  let seen: number | null = null;
  let version = "";
  const counts = `SELECT (SELECT count(*) || ':' || count(revoked_at) FROM api_key) || ':' ||
    (SELECT count(*) FROM tombstone) || ':' || coalesce((SELECT value FROM flag WHERE name = 'frozen'), 0) AS version`;
  return () => {
    const at = db.query<{ data_version: number }, []>("PRAGMA data_version").get()?.data_version ?? null;
    if (at !== seen) version = db.query<{ version: string }, []>(counts).get()?.version ?? "";
    seen = at;
    return version;
  };
}

type ListRow = { readonly era: Era; readonly tools: string; readonly rest: string };
type Rest = Omit<Remembered, "era" | "tools">;

function listStore(db: Database): ListStore {
  return {
    recall(server, optionsHash) {
      const select = "SELECT era, tools, rest FROM listing WHERE server = ? AND options = ?";
      const row = db.query<ListRow, [string, string]>(select).get(server, optionsHash);
      if (!row) return null;
      return { ...stored<Rest>(row.rest), era: row.era, tools: stored<string[]>(row.tools) };
    },
    remember(server, optionsHash, { era, tools, ...rest }) {
      const replace = "INSERT OR REPLACE INTO listing(server, options, era, tools, rest) VALUES (?, ?, ?, ?, ?)";
      db.run(replace, [server, optionsHash, era, JSON.stringify(tools), JSON.stringify(rest)]);
    },
    recallEras(server, optionsHash) {
      const select = "SELECT speaks, at FROM era WHERE server = ? AND options = ?";
      return db.query<RememberedEras, [string, string]>(select).get(server, optionsHash);
    },
    rememberEras(server, optionsHash, eras) {
      if (!eras) return void db.run("DELETE FROM era WHERE server = ?", [server]);
      const replace = "INSERT OR REPLACE INTO era(server, options, speaks, at) VALUES (?, ?, ?, ?)";
      db.run(replace, [server, optionsHash, eras.speaks, Math.trunc(eras.at)]);
    },
    forget(server, optionsHash) {
      for (const table of ["listing", "era"]) {
        db.run(`DELETE FROM ${table} WHERE server = ? AND options = ?`, [server, optionsHash]);
      }
    },
  };
}
