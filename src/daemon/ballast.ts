import { randomBytes } from "node:crypto";
import { rmSync, statfsSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { thrownBy } from "../core/attempt.ts";

const bytes = 1024 ** 2;
/** Room for recording one act. It is not all given up at once, or the log would take it all. */
const piece = 64 * 1024;
/** The ballast is laid only where so many times its size is free, or it would itself fill the disk. */
const times = 4;

/** A file that only reserves room on a disk, to be given up when the disk is full. */
export type Ballast = {
  /** Gives up a piece of it; false when there is none left, or it cannot be given up. */
  readonly give: () => boolean;
  readonly giveAll: () => void;
};

/** Lays the ballast of a state directory, unless its disk is short of room already. */
export function layBallast(stateDir: string): Ballast {
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
    // A named pipe in its place would keep whoever opens it waiting.
    giveAll();
    // Random, or a file system that compresses would keep no room for it.
    writeFileSync(path, randomBytes(bytes), { mode: 0o600 });
  } catch {
    giveAll();
  }
  return ballast;
}

/** Whether it was possible: who needs room has more to do than to tell that there is none, as on a read-only disk. */
const attempt = (work: () => void): boolean => thrownBy(work) === null;
