import type { SubjectRow } from "../core/store.ts";
import { commitmentTo, saltBytes } from "./chain.ts";

// What tells who a person is stands in no record, which nobody can erase: records hold a name for it, and a row beside
// them, which can be erased, says what the name stands for.

const nameOf = (salt: Uint8Array, value: string): string => `~${commitmentTo(salt, value).slice(0, 22)}`;

/** A new name for a value, with what it stands for. */
export function createSubject(value: string): SubjectRow {
  const salt = crypto.getRandomValues(new Uint8Array(saltBytes));
  return { id: nameOf(salt, value), salt, value };
}

/** The name in `src` of a record; null where that holds none. */
export function subjectIn(src: string | undefined): string | null {
  return /:(~.*)$/.exec(src ?? "")?.[1] ?? null;
}

/** What a name stands for; null where the row is gone, or was changed: no hash of the chain covers it. */
export function valueOf(row: SubjectRow | null): string | null {
  return row && row.id === nameOf(row.salt, row.value) ? row.value : null;
}
