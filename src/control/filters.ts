import { recordTypes } from "../core/event.ts";
import { groupNames, statuses } from "../core/failure.ts";

// Values that records, usage and things can be selected by. One that no record can have is refused: an answer without
// records would say that nothing happened.

/** Most records, or lines of a log, that one operation answers with. */
export const mostAsked = 10_000;

/** What usage can be summed up by. */
export const usageGroupings = ["consumer", "server", "tool", "tag", "day", "hour"] as const;

/** The kinds of things that servers list and callers name. */
export const namedKinds = ["tool", "prompt", "resource"] as const;

/** Why no record has this status or belongs to this group; null when some may. */
export function wrongStatus(text: string): string | null {
  const known = new Set<string>([...groupNames, ...statuses]);
  return known.has(text) ? null : `"${text}" is none of ${[...known].join(", ")}`;
}

/** Why no record is of this type, or of one that begins so where it ends in `*`; null when some may be. */
export function wrongRecordType(text: string): string | null {
  const isMeant = text.endsWith("*")
    ? (type: string) => type.startsWith(text.slice(0, -1))
    : (type: string) => type === text;
  if (recordTypes.some(isMeant)) return null;
  const families = new Set(recordTypes.map((type) => `${type.split(".")[0]}*`));
  return `"${text}" is no type of record; there are ${[...families].join(", ")}`;
}
