import { priorityMarks } from "../core/journal.ts";
import { createLogger, type LogOptions } from "../core/log.ts";
import { LineWriter } from "./lines.ts";

/** Bytes that may wait for the reader of the log; what comes beyond them is lost, and counted. */
const maxUnread = 1 << 20;

/** The log of this process, on standard error. */
export function openLog(options: Pick<LogOptions, "level" | "format">): ReturnType<typeof createLogger> {
  const output = new LineWriter(process.stderr);
  const mark = priorityMarks();
  return createLogger({
    ...options,
    write(line, level) {
      if (output.queued >= maxUnread) return false;
      output.write(mark(level) + line);
      return true;
    },
  });
}
