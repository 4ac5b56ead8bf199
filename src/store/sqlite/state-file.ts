import { StoreFailed } from "../../core/store.ts";
import { isDamage, withPath } from "./database.ts";

// SQLite reports a page that the disk does not give as a damaged one.
const remedy =
  "unless the kernel's log tells of a disk that cannot be read, stop the gateway, then restore a backup of the file or " +
  "move the file away, its -wal and -shm away in either case: a start takes revocations, a freeze and usage from the " +
  "log; keys that the backup lacks, or all, must be made anew";

/** Runs what reads or writes `mcpgw.db`: failures name the file, and what helps where it is damaged. */
export function onState<T>(path: string, work: () => T): T {
  try {
    return withPath(path, work);
  } catch (error) {
    if (!isDamage(error)) throw error;
    throw new StoreFailed(`${error.message}; ${remedy}`, { cause: error });
  }
}

/** Opens a store in `mcpgw.db`, each of whose operations runs `onState`. */
export function openOnState<Store extends object>(path: string, open: () => Store): Store {
  type Operation = (...args: readonly unknown[]) => unknown;
  const store = onState(path, open);
  for (const name of Reflect.ownKeys(store)) {
    const operation = Reflect.get(store, name) as Operation; // a store has nothing else
    Reflect.set(store, name, (...args: readonly unknown[]) => onState(path, () => operation(...args)));
  }
  return store;
}
