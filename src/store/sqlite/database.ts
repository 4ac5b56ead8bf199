import { constants as sqlite, Database, SQLiteError } from "bun:sqlite";
import { accessSync, closeSync, constants, existsSync, openSync, statSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { ownership } from "../../core/access.ts";
import { thrownBy } from "../../core/attempt.ts";
import { codeOf } from "../../core/error-text.ts";
import { StoreBusy, StoreFailed, StoreUnsynced } from "../../core/store.ts";

export type OpenOptions = {
  /** Maximum time a statement waits for another process, ms; it blocks its thread, so it is 0 on the request path. */
  readonly wait: number;
  /** `full` syncs each commit; `normal` leaves that to the caller, yet a power cut never corrupts the database. */
  readonly synchronous: "full" | "normal";
};

/** Opens a database for writing in WAL mode, for its owner only; on a read-only file system, for reading. */
export function openWritable(path: string, { wait, synchronous }: OpenOptions): Database {
  if (isImmutable(path)) return openReadable(path, wait);
  createPrivate(path);
  return withStoreErrors(() =>
    opened(new Database(path, { readwrite: true, create: true, strict: true }), (db) => {
      db.run(`PRAGMA busy_timeout = ${wait}`);
      db.run("PRAGMA journal_mode = WAL");
      db.run(`PRAGMA synchronous = ${synchronous}`);
      db.run("PRAGMA wal_autocheckpoint = 0");
      return db;
    }),
  );
}

/** Returns what `use` makes of an open database; closes the database if `use` throws. */
export function opened<T>(db: Database, use: (db: Database) => T): T {
  try {
    return use(db);
  } catch (error) {
    db.close(true);
    throw error;
  }
}

/** Opens an existing database for reading; `wait` as for writing. */
export function openReadable(path: string, wait: number): Database {
  // SQLite would block until somebody writes to a named pipe.
  if (statSync(path, { throwIfNoEntry: false })?.isFIFO()) throw new StoreFailed("is not a regular file");
  return withStoreErrors(() => {
    // SQLite creates -wal and -shm even beside a cleanly closed database unless the database is marked immutable.
    const db = isImmutable(path)
      ? new Database(`${pathToFileURL(path).href}?immutable=1`, sqlite.SQLITE_OPEN_READONLY | sqlite.SQLITE_OPEN_URI)
      : new Database(path, { readonly: true, strict: true });
    db.run(`PRAGMA busy_timeout = ${wait}`);
    return db;
  });
}

/** Reports whether nobody can have the database open or write it: it has no log and its file system is read-only. */
function isImmutable(path: string): boolean {
  return !existsSync(`${path}-wal`) && codeOf(thrownBy(() => accessSync(path, constants.W_OK))) === "EROFS";
}

/** Runs statements as one transaction that takes the write lock first. */
export function transaction(db: Database, work: () => void): void {
  // The database caches these statements, so nothing is parsed again.
  const [begin, commit] = [db.query("BEGIN IMMEDIATE"), db.query("COMMIT")];
  withStoreErrors(() => {
    begin.run();
    try {
      work();
      commit.run();
    } catch (error) {
      // After some errors, SQLite has already rolled back.
      if (db.inTransaction) db.run("ROLLBACK");
      throw error;
    }
  });
}

/** Translates SQLite errors into the errors of the storage ports. */
export function withStoreErrors<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof SQLiteError)) throw error;
    const { code = "SQLITE_ERROR", message } = error;
    const text = `${message} (${code})`;
    if (code.startsWith("SQLITE_BUSY")) throw new StoreBusy(text, { cause: error });
    if (code.includes("FSYNC")) throw new StoreUnsynced(text, { cause: error });
    throw new StoreFailed(text, { cause: error });
  }
}

/** Reports whether a store failed because its file is damaged. */
export const isDamage = (error: unknown): error is StoreFailed =>
  error instanceof StoreFailed && (/^SQLITE_(CORRUPT|NOTADB)/.test(codeOf(error.cause) ?? "") || isDamage(error.cause));

/** Like `withStoreErrors`, but a failure also names the file, and its owner if access was denied. */
export function withPath<T>(path: string, work: () => T): T {
  try {
    return withStoreErrors(work);
  } catch (error) {
    if (!(error instanceof StoreFailed) || error.message.includes(path)) throw error;
    const Kind = error instanceof StoreUnsynced ? StoreUnsynced : StoreFailed;
    throw new Kind(whyDenied(path, error) ?? `${path}: ${error.message}`, { cause: error });
  }
}

/** Explains a denied access: SQLite names neither the file, which may be one beside the database, nor the reason. */
function whyDenied(path: string, { cause, message }: StoreFailed): string | null {
  if (!/^SQLITE_(CANTOPEN|READONLY|PERM)/.test(codeOf(cause) ?? "")) return null;
  for (const file of [path, `${path}-wal`, `${path}-shm`]) {
    if (codeOf(thrownBy(() => accessSync(file, constants.R_OK | constants.W_OK))) === "EACCES")
      return `${file}: uid ${process.getuid?.()} may not use it: ${ownership(file)}; ${message}`;
  }
  return null;
}

// SQLite would create the file with the permissions that the umask allows, and give -wal and -shm the same mode. Only a
// file that does not exist is opened: closing a descriptor of a database in use would drop SQLite's locks.
function createPrivate(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
}
