import { because, ending, subject } from "../control/present.ts";
import type { AuditEntry } from "../control/schemas.ts";

/** Returns a unique key for a record. It includes the time because a replaced log reuses sequence numbers. */
export const keyOf = ({ chain, seq, at }: AuditEntry): string => `${chain}/${seq}/${at}`;

/** Merges records, newest first and without duplicates, up to `max`. */
export function merge(known: readonly AuditEntry[], more: readonly AuditEntry[], max: number): readonly AuditEntry[] {
  const all = new Map([...more, ...known].map((entry) => [keyOf(entry), entry]));
  if (all.size === known.length) return known;
  return [...all.values()].toSorted((a, b) => b.at - a.at || b.seq - a.seq).slice(0, max);
}

/** Returns the records that contain every word of the filter in any column. */
export function matching(entries: readonly AuditEntry[], filter: string): readonly AuditEntry[] {
  if (filter === "") return entries;
  const words = filter.toLowerCase().split(/\s+/);
  return entries.filter((entry) => {
    const text = [entry.consumer, entry.caller, subject(entry), ending(entry), because(entry)].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}
