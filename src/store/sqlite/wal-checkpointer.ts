import { fdatasyncSync, openSync } from "node:fs";
import { messageOf } from "../../core/error-text.ts";
import { StoreUnsynced } from "../../core/store.ts";
import { openWritable, withPath } from "./database.ts";

/** Log lengths in bytes from which on its pages are copied, the log is restarted, and its file is truncated. */
export type LogSizes = { readonly copy: number; readonly restart: number; readonly truncate: number };

const defaults: LogSizes = { copy: 2 << 20, restart: 32 << 20, truncate: 256 << 20 };
const pageBytes = 4096;
/** Maximum number of bytes copied while the writer is locked out. */
const rest = 1 << 20;

/** Copies the write-ahead log into its database, off the writer's thread; throws `StoreUnsynced` on a failed sync. */
export type WalCheckpointer = Disposable & {
  /** Does what the length of the log requires; never waits for the writer or a reader. */
  run(): void;
  /** Copies everything and restarts the log, whatever its length. */
  finish(): void;
};

type Progress = { readonly log: number; readonly checkpointed: number };

/** Opens a separate connection to an existing database; waits while another connection is being opened or closed. */
export function openWalCheckpointer(path: string, sizes: LogSizes = defaults): WalCheckpointer {
  const db = openWritable(path, { wait: 1000, synchronous: "normal" });
  db.run("PRAGMA busy_timeout = 0");
  const checkpoint = (mode: "NOOP" | "PASSIVE" | "RESTART" | "TRUNCATE"): Progress => {
    const read = () => db.query<Progress, []>(`PRAGMA wal_checkpoint(${mode})`).get();
    return withPath(path, read) ?? { log: 0, checkpointed: 0 };
  };
  let file: number | null = null;
  const copy = (): Progress => {
    const progress = checkpoint("PASSIVE");
    // Never closed: closing any descriptor of a file drops the locks that SQLite holds on it in this whole process.
    file ??= openSync(path, "r");
    // SQLite syncs copied pages only while the writer is idle. Deferred, that would be a large sync at once: it would
    // lock out the writer while the log is restarted, and delay the syncs of the log.
    try {
      fdatasyncSync(file);
    } catch (error) {
      throw new StoreUnsynced(`fdatasync ${path}: ${messageOf(error)}`, { cause: error });
    }
    return progress;
  };
  const left = ({ log, checkpointed }: Progress): number => (log - checkpointed) * pageBytes;

  return {
    run() {
      let progress = checkpoint("NOOP");
      if (left(progress) < sizes.copy) return;
      progress = copy();
      if (progress.log * pageBytes < sizes.restart) return;
      // Restarting the log locks out the writer until all is copied and synced, so first copy what is new.
      progress = copy();
      if (left(progress) > rest) return;
      checkpoint(progress.log * pageBytes < sizes.truncate ? "RESTART" : "TRUNCATE");
    },
    finish: () => void checkpoint("TRUNCATE"),
    [Symbol.dispose]: () => db.close(true),
  };
}
