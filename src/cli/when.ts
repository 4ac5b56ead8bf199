import { parseSince, sinceHelp, wrongTime } from "../control/since.ts";
import { parseDuration } from "../core/duration.ts";
import { timeText } from "../core/time-text.ts";
import { UsageError } from "./errors.ts";

/** Flags of a command about a stretch of time. */
export const period = {
  since: { type: "string", valueHint: "TIME", description: sinceHelp },
  until: { type: "string", valueHint: "TIME", description: "up to here" },
} as const;

/** A past time as ISO text: the same moment however late it is read; anything else is a usage error. */
export function pastTime(flag: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const at = parseSince(text, Date.now());
  // Nothing was recorded before 1970, and not every time before it has such a text.
  if (at !== null) return timeText(Math.max(at, 0));
  throw new UsageError(`${flag}: ${wrongTime(text)}`);
}

/** `--since` and `--until` as ISO text; a text that is no time, or an end before its beginning, is a usage error. */
export function timeRange(since: string | undefined, until: string | undefined) {
  const range = { since: pastTime("--since", since), until: pastTime("--until", until) };
  const now = Date.now();
  const at = (text: string): number => parseSince(text, now) ?? 0;
  if (since !== undefined && until !== undefined && at(until) <= at(since))
    throw new UsageError(`--until ${until} is not after --since ${since}: nothing lies between them`);
  return range;
}

const farthest = 100 * 366 * 86_400_000;

/** Epoch ms of `90d` from now or of an ISO date; anything else, or a time that has passed, is a usage error. */
export function futureTime(flag: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  const ms = parseDuration(text);
  const written = parseSince(text, Date.now());
  const at = ms !== null ? Date.now() + ms : written === null ? null : Math.floor(written / 1_000);
  if (at === null) throw new UsageError(`${flag}: "${text}" is no time; write e.g. 90d or 2026-12-31`);
  if (at <= Date.now()) throw new UsageError(`${flag}: ${text} has passed already`);
  if (at > Date.now() + farthest)
    throw new UsageError(`${flag}: ${text} is over 100 years ahead; leave it out instead`);
  return at;
}

/** A whole number from `min` to `max`; anything else is a usage error. */
export function wholeNumber(flag: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new UsageError(`${flag}: "${text}" is no whole number from ${min} to ${max}`);
}
