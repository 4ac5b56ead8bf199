import { fstatSync } from "node:fs";
import type { Level } from "./log.ts";

/** Of syslog(3). */
const priorities: Readonly<Record<Level, number>> = { debug: 7, info: 6, warn: 4, error: 3 };

/**
 * What to begin a line of standard error with, so that the journal of systemd knows its priority (sd-daemon(3)); empty
 * where standard error goes elsewhere. `stream` is what the service manager says that it connected to the journal.
 */
export function priorityMarks(stream = process.env["JOURNAL_STREAM"]): (level: Level) => string {
  return isOpenAs(2, stream) ? (level) => `<${priorities[level]}>` : () => "";
}

function isOpenAs(fd: number, stream: string | undefined): boolean {
  if (!stream) return false;
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return stream === `${dev}:${ino}`;
}
