import { randomBytes } from "node:crypto";
import { rmSync, statfsSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { thrownBy } from "../core/attempt.ts";

const bytes = 1024 ** 2;
/** Bytes given up at a time, enough to record one act. Freeing everything at once would let the log consume it all. */
const piece = 64 * 1024;
/** The ballast is written only if this many times its size is free, so that it does not fill the disk itself. */
const times = 4;

/** A file that reserves disk space, to be freed when the disk is full. */
export type Ballast = {
  /** Frees one piece; false if nothing is left or it cannot be freed. */
  readonly give: () => boolean;
  readonly giveAll: () => void;
};

/** Writes the ballast file of a state directory, unless its disk is already short of space. */
export function createBallast(stateDir: string): Ballast {
  const path = join(stateDir, "ballast");
  const size = (): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  const giveAll = (): void => void attempt(() => rmSync(path, { force: true }));
  const ballast = {
    give: () =>
      attempt(() => {
        const left = size() - piece;
        if (left > 0) truncateSync(path, left);
        else rmSync(path);
      }),
    giveAll,
  };
  try {
    const { bavail, bsize } = statfsSync(stateDir);
    if (size() >= bytes || bavail * bsize <= times * bytes) return ballast;
    // Opening a named pipe at this path would block.
    giveAll();
    // Random bytes, because a compressing file system would reserve no space for zeros.
    writeFileSync(path, randomBytes(bytes), { mode: 0o600 });
  } catch {
    giveAll();
  }
  return ballast;
}

/** Reports whether the work succeeded. Errors, such as a read-only disk, are ignored: the ballast is best effort. */
const attempt = (work: () => void): boolean => thrownBy(work) === null;
