import { plain } from "../core/text.ts";

/** Formats a number as `1,234`. */
export const number = (value: number): string => value.toLocaleString("en-US", { maximumFractionDigits: 0 });

/** Returns `1 record` or `1,234 records`. */
export const recordCount = (value: number): string => `${number(value)} record${value === 1 ? "" : "s"}`;

/** Formats a duration as `850 µs`, `12.3 ms` or `2.40 s`. */
export function latency(us: number | null): string {
  if (us === null) return "";
  if (us < 1_000) return `${us} µs`;
  if (us < 1_000_000) return `${(us / 1_000).toFixed(1)} ms`;
  return `${(us / 1_000_000).toFixed(2)} s`;
}

/** Formats a size as `512 B` or `20.0 KiB`. */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let rest = value;
  for (; rest >= 1024 && unit < units.length - 1; unit++) rest /= 1024;
  return unit === 0 ? `${value} B` : `${rest.toFixed(1)} ${units[unit]}`;
}

const two = (value: number): string => String(value).padStart(2, "0");

/** Formats epoch ms as a local date, `2026-03-01`. */
export function date(ms: number): string {
  const at = new Date(ms);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** Formats epoch ms as a local time, `12:00:05.123`. */
export function clock(ms: number): string {
  const at = new Date(ms);
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  return `${time}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** Formats epoch ms as a local date and time, `2026-03-01 12:00:05`. */
export const moment = (ms: number): string => `${date(ms)} ${clock(ms).slice(0, 8)}`;

/** Escapes untrusted text for one line of a terminal. */
export const line = (text: string): string => plain(text).replaceAll("\t", " ");

/** Escapes untrusted text for a terminal, keeping its lines. */
export const paragraph = (text: string): string => text.split("\n").map(line).join("\n");
