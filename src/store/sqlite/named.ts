import { StoreFailed } from "../../core/store.ts";
import { isDamage, withPath } from "./database.ts";

/** Runs `work` on a database; failures name the file, and the remedy if it is damaged. */
export function onFile<T>(path: string, remedy: string, work: () => T): T {
  try {
    return withPath(path, work);
  } catch (error) {
    if (!isDamage(error)) throw error;
    // SQLite reports a page that the disk cannot read as a damaged one.
    const advice = `check the kernel log for disk read errors first; if there are none, stop the gateway, then ${remedy}`;
    throw new StoreFailed(`${error.message}; ${advice}`, { cause: error });
  }
}

/** Opens a store and runs each of its operations through `onFile`. */
export function openOnFile<Store extends object>(path: string, remedy: string, open: () => Store): Store {
  type Operation = (...args: readonly unknown[]) => unknown;
  const store = onFile(path, remedy, open);
  for (const name of Reflect.ownKeys(store)) {
    const operation = Reflect.get(store, name) as Operation; // a store has nothing else
    Reflect.set(store, name, (...args: readonly unknown[]) => onFile(path, remedy, () => operation(...args)));
  }
  return store;
}
