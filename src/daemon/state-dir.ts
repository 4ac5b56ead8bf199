import { join } from "node:path";
import { lockHolder, type FileLock } from "../core/libc.ts";
import { StoreFailed } from "../core/store.ts";
import { locked, prepareStateDir } from "../store/open.ts";

/**
 * Takes the lock that only one daemon of a state directory can hold, and makes the directory when it is missing. Throws
 * with the pid of the daemon that holds the lock.
 */
export function lockState(dir: string): FileLock {
  prepareStateDir(dir);
  const file = join(dir, "lock");
  const lock = locked(file);
  if (lock) return lock;
  const pid = lockHolder(file);
  throw new StoreFailed(
    `another mcpgw daemon uses ${dir}${pid === null ? "" : ` (pid ${pid})`}; stop it, or give this one another --state`,
  );
}
