import { type Archive, archiveOf } from "../../src/daemon/archive.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";

/** The archive of a state directory as a command without a daemon reads it, without usage data. */
export function archiveAt({ state }: { readonly state: string }): Archive & Disposable {
  const reader = openReader({ state, main: null });
  return { ...archiveOf(reader, () => ({ rows: [], cutShort: [] })), [Symbol.dispose]: () => reader[Symbol.dispose]() };
}
