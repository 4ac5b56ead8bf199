import { createLogger, type LogStyle } from "../../src/daemon/own-log.ts";

/** Returns a log of the program whose lines are kept as they are written. */
export function writtenLog(style: Partial<LogStyle> = {}) {
  const lines: string[] = [];
  const write = (line: string): boolean => lines.push(line) > 0;
  return { lines, log: createLogger({ level: "warn", format: "json", ...style, write }) };
}
