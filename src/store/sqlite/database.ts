import { constants as sqlite, Database, SQLiteError } from "bun:sqlite";
import { accessSync, closeSync, constants, existsSync, openSync, statSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { ownership } from "../../core/access.ts";
import { thrownBy } from "../../core/attempt.ts";
import { codeOf } from "../../core/error-text.ts";
import { StoreBusy, StoreFailed, StoreUnsynced } from "../../core/store.ts";

export type OpenOptions = {
  /** Milliseconds that a statement may wait for another process, blocking its thread; 0 on the path. */
  readonly wait: number;
  /** `full` syncs each commit; `normal` leaves that to the caller, and keeps what a power cut leaves in order. */
  readonly synchronous: "full" | "normal";
};

/**
 * Opens a database for writing, creating it for its owner only, in WAL mode and without checkpoints of its own. On a
 * read-only file system it can only be read.
 */
export function openWritable(path: string, { wait, synchronous }: OpenOptions): Database {
  if (isFixed(path)) return openReadable(path, wait);
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

/** What `use` makes of an open database, which is closed again where that throws. */
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
  // SQLite would wait for somebody to write to a named pipe.
  if (statSync(path, { throwIfNoEntry: false })?.isFIFO()) throw new StoreFailed("is not a regular file");
  return withStoreErrors(() => {
    // SQLite makes files beside a database that was closed in order, unless it is told that nobody can write it.
    const db = isFixed(path)
      ? new Database(`${pathToFileURL(path).href}?immutable=1`, sqlite.SQLITE_OPEN_READONLY | sqlite.SQLITE_OPEN_URI)
      : new Database(path, { readonly: true, strict: true });
    db.run(`PRAGMA busy_timeout = ${wait}`);
    return db;
  });
}

/** Whether nobody has the database open or can write it: it has no log, and its file system is read-only. */
function isFixed(path: string): boolean {
  return !existsSync(`${path}-wal`) && codeOf(thrownBy(() => accessSync(path, constants.W_OK))) === "EROFS";
}

/** Runs statements as one transaction that takes the write lock first. */
export function transaction(db: Database, work: () => void): void {
  // Cached by the database: nothing is parsed again.
  const [begin, commit] = [db.query("BEGIN IMMEDIATE"), db.query("COMMIT")];
  withStoreErrors(() => {
    begin.run();
    try {
      work();
      commit.run();
    } catch (error) {
      // SQLite itself has rolled back after some errors.
      if (db.inTransaction) db.run("ROLLBACK");
      throw error;
    }
  });
}

/** Translates what SQLite throws into the errors of the storage ports. */
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

/** Whether the failure of a store is that its file is damaged. */
export const isDamage = (error: unknown): error is StoreFailed =>
  error instanceof StoreFailed && (/^SQLITE_(CORRUPT|NOTADB)/.test(codeOf(error.cause) ?? "") || isDamage(error.cause));

/**
 * Like `withStoreErrors`, with the path of the file in a failure, which stays of its kind, and whose the file is if
 * that is why.
 */
export function withPath<T>(path: string, work: () => T): T {
  try {
    return withStoreErrors(work);
  } catch (error) {
    if (!(error instanceof StoreFailed) || error.message.includes(path)) throw error;
    const Kind = error instanceof StoreUnsynced ? StoreUnsynced : StoreFailed;
    throw new Kind(whyDenied(path, error) ?? `${path}: ${error.message}`, { cause: error });
  }
}

/** SQLite names neither the file that it may not use, which may be one beside the database, nor the reason. */
function whyDenied(path: string, { cause, message }: StoreFailed): string | null {
  if (!/^SQLITE_(CANTOPEN|READONLY|PERM)/.test(codeOf(cause) ?? "")) return null;
  for (const file of [path, `${path}-wal`, `${path}-shm`]) {
    if (codeOf(thrownBy(() => accessSync(file, constants.R_OK | constants.W_OK))) === "EACCES")
      return `${file}: uid ${process.getuid?.()} may not use it: ${ownership(file)}; ${message}`;
  }
  return null;
}

// SQLite would create the file for everybody whom the umask lets in, and give -wal and -shm the same mode. Only a file
// that does not exist is opened: closing a descriptor of a database in use would drop SQLite's locks.
function createPrivate(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
}
