import type { SubjectRow } from "../core/store.ts";
import { commitmentTo, saltBytes } from "./chain.ts";

// Records cannot be erased, so they hold pseudonyms instead of personal data; an erasable row holds the value.

const nameOf = (salt: Uint8Array, value: string): string => `~${commitmentTo(salt, value).slice(0, 22)}`;

/** Creates a new pseudonym for a value. */
export function createSubject(value: string): SubjectRow {
  const salt = crypto.getRandomValues(new Uint8Array(saltBytes));
  return { id: nameOf(salt, value), salt, value };
}

/** Returns the pseudonym in a record's `src`, or null if there is none. */
export function subjectIn(src: string | undefined): string | null {
  return /:(~.*)$/.exec(src ?? "")?.[1] ?? null;
}

/** Returns what a pseudonym stands for; null if the row is missing or changed (no hash covers it). */
export function valueOf(row: SubjectRow | null): string | null {
  return row && row.id === nameOf(row.salt, row.value) ? row.value : null;
}
