import { closeSync, constants, fdatasync, fstatSync, openSync, type Stats, statSync } from "node:fs";
import { dirname } from "node:path";
import { messageOf } from "../../core/error-text.ts";
import { syncDirectorySync } from "../../core/files.ts";
import { StoreUnsynced } from "../../core/store.ts";

/** Syncs a database's write-ahead log off the thread, and checks that its files are still the ones that were opened. */
export type Wal = {
  /** Resolves when all earlier commits are on stable storage; rejects with `StoreUnsynced`. One at a time. */
  sync(): Promise<void>;
  /** Describes what happened to the files; null if they are unchanged. */
  fault(): string | null;
  close(): void;
};

/** `path` is a database in WAL mode that this process has open and has written to, so that its log exists. */
export function openWal(path: string): Wal {
  const log = `${path}-wal`;
  const database = statSync(path);
  // A descriptor of the log is safe; closing one of the database or its -shm would drop SQLite's locks.
  const fd = openSync(log, "r+");
  // Without this, a power cut could lose the directory entries of files whose contents were synced.
  syncDirectorySync(dirname(path));

  return {
    sync() {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      fdatasync(fd, (error) => {
        if (error) reject(new StoreUnsynced(`fdatasync ${log}: ${error.message}`, { cause: error }));
        else resolve();
      });
      return promise;
    },
    fault: () => fileFault(path, database) ?? fileFault(log, fstatSync(fd)),
    close: () => closeSync(fd),
  };
}

/** Describes what happened to a file since it was opened; null if it is unchanged. */
export function fileFault(path: string, opened: Stats): string | null {
  const found = stat(path);
  if (typeof found === "string") return `${path}: ${found}`;
  if (!sameFile(found, opened)) return `${path} was replaced while in use`;
  const needed = constants.S_IRUSR | constants.S_IWUSR;
  // Checks the mode instead of calling access(2), which would always let root in.
  return (found.mode & needed) === needed ? null : `${path}: its owner may no longer read and write it`;
}

function stat(path: string): Stats | string {
  try {
    return statSync(path, { throwIfNoEntry: false }) ?? "deleted while in use";
  } catch (error) {
    return messageOf(error);
  }
}

function sameFile(a: Stats, b: Stats): boolean {
  return a.ino === b.ino && a.dev === b.dev;
}
