import { parseSince, sinceHelp, wrongTime } from "../control/since.ts";
import { parseDuration } from "../core/duration.ts";
import { timeText } from "../core/time-text.ts";
import { UsageError } from "./errors.ts";

/** Flags that select a time range. */
export const period = {
  since: { type: "string", valueHint: "TIME", description: sinceHelp },
  until: { type: "string", valueHint: "TIME", description: "end of the time range, in the same forms" },
} as const;

/** Converts a past time to ISO text, so that a relative time means the same moment later on; throws a `UsageError`. */
export function pastTime(flag: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const at = parseSince(text, Date.now());
  // Nothing was recorded before 1970, and not every earlier time can be written as ISO text.
  if (at !== null) return timeText(Math.max(at, 0));
  throw new UsageError(`${flag}: ${wrongTime(text)}`);
}

/** Converts `--since` and `--until` to ISO text; throws a `UsageError` for an invalid time or an empty range. */
export function timeRange(since: string | undefined, until: string | undefined) {
  const range = { since: pastTime("--since", since), until: pastTime("--until", until) };
  const now = Date.now();
  const at = (text: string): number => parseSince(text, now) ?? 0;
  if (since !== undefined && until !== undefined && at(until) <= at(since))
    throw new UsageError(`--until ${until} is not after --since ${since}, so the time range is empty`);
  return range;
}

const farthest = 100 * 366 * 86_400_000;

/** Returns the epoch ms of a duration from now (`90d`) or of an ISO date; throws a `UsageError` if it is not ahead. */
export function futureTime(flag: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  const ms = parseDuration(text);
  const written = parseSince(text, Date.now());
  const at = ms !== null ? Date.now() + ms : written === null ? null : Math.floor(written / 1_000);
  if (at === null) throw new UsageError(`${flag}: "${text}" is not a time; write for example 90d or 2026-12-31`);
  if (at <= Date.now()) throw new UsageError(`${flag}: ${text} is in the past`);
  if (at > Date.now() + farthest)
    throw new UsageError(`${flag}: ${text} is more than 100 years from now; leave the flag out instead`);
  return at;
}

/** Parses a whole number from `min` to `max`; throws a `UsageError` for anything else. */
export function wholeNumber(flag: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new UsageError(`${flag}: "${text}" is not a whole number from ${min} to ${max}`);
}
