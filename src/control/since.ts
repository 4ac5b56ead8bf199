import { parseDuration } from "../core/duration.ts";

const instant = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/;

/** What operators are told of the beginning of a stretch of time. */
export const sinceHelp = "from here on: 30m, 2h or 7d before now, or a date or time, local unless it has an offset";

/** What is wrong with a text that `parseSince` does not take. */
export const wrongTime = (text: string): string => `"${text}" is no time; write e.g. 30m, 2h, 7d or 2026-01-31T08:00`;

/**
 * The epoch µs of a past time as operators write it: a duration before `now` (`90s`, `2h`, `7d`), or an ISO 8601 date
 * or time (local without an offset, and with a space for its T, as commands print times). Null if the text is neither.
 */
export function parseSince(text: string, now: number): number | null {
  const ago = parseDuration(text);
  if (ago !== null) return (now - ago) * 1000;
  const [day, time = "00:00"] = text.split(/[T ]/);
  // JavaScript would take a date without a time for one of UTC.
  const at = instant.test(text) && isDay(day ?? "") ? Date.parse(`${day}T${time}`) : Number.NaN;
  // JavaScript leaves out what is less than a millisecond, by which records are told apart.
  const rest = /\.\d{3}(\d{1,3})/.exec(time)?.[1] ?? "";
  return Number.isNaN(at) ? null : at * 1000 + Number(rest.padEnd(3, "0"));
}

/** Whether a date exists: JavaScript would read the 31st of February as a day in March. */
function isDay(text: string): boolean {
  const at = Date.parse(text);
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(text);
}
