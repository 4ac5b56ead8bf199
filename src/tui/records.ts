import { because, ending, subject } from "../control/present.ts";
import type { AuditEntry } from "../control/schemas.ts";

/** Tells a record from all others: a log that took the place of another has records of the same numbers. */
export const keyOf = ({ chain, seq, at }: AuditEntry): string => `${chain}/${seq}/${at}`;

/** The newest records first, each once, at most `max`. */
export function merge(known: readonly AuditEntry[], more: readonly AuditEntry[], max: number): readonly AuditEntry[] {
  const all = new Map([...more, ...known].map((entry) => [keyOf(entry), entry]));
  if (all.size === known.length) return known;
  return [...all.values()].toSorted((a, b) => b.at - a.at || b.seq - a.seq).slice(0, max);
}

/** Records that contain every word of the filter, in any column. */
export function matching(entries: readonly AuditEntry[], filter: string): readonly AuditEntry[] {
  if (filter === "") return entries;
  const words = filter.toLowerCase().split(/\s+/);
  return entries.filter((entry) => {
    const text = [entry.consumer, entry.caller, subject(entry), ending(entry), because(entry)].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}
