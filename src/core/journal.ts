import { fstatSync } from "node:fs";
import type { Level } from "./log.ts";

/** From syslog(3). */
const priorities: Readonly<Record<Level, number>> = { debug: 7, info: 6, warn: 4, error: 3 };

/**
 * Returns the prefix per level that tells the systemd journal the priority of a line on standard error (sd-daemon(3));
 * empty if standard error is not the `stream` that the service manager connected to the journal.
 */
export function priorityMarks(stream = process.env["JOURNAL_STREAM"]): (level: Level) => string {
  return isOpenAs(2, stream) ? (level) => `<${priorities[level]}>` : () => "";
}

function isOpenAs(fd: number, stream: string | undefined): boolean {
  if (!stream) return false;
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return stream === `${dev}:${ino}`;
}
