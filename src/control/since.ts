import { parseDuration } from "../core/duration.ts";

const instant = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/;

/** The help text for the start of a time range. */
export const sinceHelp =
  "start of the time range: 30m, 2h or 7d ago, or a date or time (local unless it has an offset)";

/** Returns the message for a text that `parseSince` does not accept. */
export const wrongTime = (text: string): string =>
  `"${text}" is not a time; write for example 30m, 2h, 7d or 2026-01-31T08:00`;

/**
 * Parses a past time to epoch µs: a duration before `now` (`90s`, `2h`, `7d`), or an ISO 8601 date or time. It is local
 * without an offset, and may have a space instead of the T, as commands print times. Null if the text is neither.
 */
export function parseSince(text: string, now: number): number | null {
  const ago = parseDuration(text);
  if (ago !== null) return (now - ago) * 1000;
  const [day, time = "00:00"] = text.split(/[T ]/);
  // JavaScript would read a date without a time as UTC.
  const at = instant.test(text) && isDay(day ?? "") ? Date.parse(`${day}T${time}`) : Number.NaN;
  // JavaScript drops the microseconds, which distinguish records.
  const rest = /\.\d{3}(\d{1,3})/.exec(time)?.[1] ?? "";
  return Number.isNaN(at) ? null : at * 1000 + Number(rest.padEnd(3, "0"));
}

/** Reports whether a date exists; JavaScript would read February 31 as a day in March. */
function isDay(text: string): boolean {
  const at = Date.parse(text);
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(text);
}
