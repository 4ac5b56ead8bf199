import { recordTypes } from "../core/event.ts";
import { groupNames, statuses } from "../core/failure.ts";

// Values that records, usage and listed items can be filtered by. A value that no record can have is refused, because
// an empty answer would mean that nothing happened.

/** Maximum number of records, or lines of a log, in one answer. */
export const maxAnswerItems = 10_000;

export const usageGroupings = ["consumer", "server", "tool", "tag", "day", "hour"] as const;

/** The kinds of items that servers list and callers name. */
export const namedKinds = ["tool", "prompt", "resource"] as const;

/** Returns why no record can have this status or group of statuses; null if some can. */
export function wrongStatus(text: string): string | null {
  const known = new Set<string>([...groupNames, ...statuses]);
  return known.has(text) ? null : `"${text}" is not one of ${[...known].join(", ")}`;
}

/** Returns why no record can have this type (or, with a final `*`, a type with this prefix); null if some can. */
export function wrongRecordType(text: string): string | null {
  const isMeant = text.endsWith("*")
    ? (type: string) => type.startsWith(text.slice(0, -1))
    : (type: string) => type === text;
  if (recordTypes.some(isMeant)) return null;
  const families = new Set(recordTypes.map((type) => `${type.split(".")[0]}*`));
  return `"${text}" is not a record type; types are ${[...families].join(", ")}`;
}
