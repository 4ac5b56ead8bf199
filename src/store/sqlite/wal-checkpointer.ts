import { fdatasyncSync, openSync } from "node:fs";
import { messageOf } from "../../core/error-text.ts";
import { StoreUnsynced } from "../../core/store.ts";
import { openWritable, withPath } from "./database.ts";

/** Lengths of the log, in bytes, from which its pages are copied, it is started over, or its file is cut. */
export type LogSizes = { readonly copy: number; readonly restart: number; readonly truncate: number };

const defaults: LogSizes = { copy: 2 << 20, restart: 32 << 20, truncate: 256 << 20 };
const pageBytes = 4096;
/** At most so many bytes are copied while the writer is kept out. */
const rest = 1 << 20;

/**
 * Copies a database's write-ahead log into it, from another thread than the writer's. Throws `StoreUnsynced` where what
 * was copied may be lost.
 */
export type WalCheckpointer = Disposable & {
  /** Does what the length of the log asks for; never waits for the writer or a reader. */
  run(): void;
  /** Copies everything and starts the log over, whatever its length. */
  finish(): void;
};

type Progress = { readonly log: number; readonly checkpointed: number };

/** Opens a connection of its own to a database, which exists; waits while another one is being opened or closed. */
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
    // Never closed: closing any descriptor of a file drops the locks that SQLite holds on it for this whole process.
    file ??= openSync(path, "r");
    // SQLite syncs what it copies only if the writer rests. Put off, that would be much at once: it would keep the
    // writer out while the log is started over, and hold up the syncs of the log.
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
      // Starting the log over keeps the writer out until all is copied and synced, so first copy what came meanwhile.
      progress = copy();
      if (left(progress) > rest) return;
      checkpoint(progress.log * pageBytes < sizes.truncate ? "RESTART" : "TRUNCATE");
    },
    finish: () => void checkpoint("TRUNCATE"),
    [Symbol.dispose]: () => db.close(true),
  };
}
