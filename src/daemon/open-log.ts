import { priorityMarks } from "../core/journal.ts";
import { createLogger, type LogStyle, type OwnLog } from "../core/log.ts";
import { LineWriter } from "./lines.ts";

/** Bytes that may wait for the reader of the log; what comes beyond them is lost, and counted. */
const maxUnread = 1 << 20;

/** The log of this process, on standard error. */
export function openLog(style: LogStyle): OwnLog {
  const output = new LineWriter(process.stderr);
  const mark = priorityMarks();
  return createLogger({
    ...style,
    write(line, level) {
      if (output.queued >= maxUnread) return false;
      output.write(mark(level) + line);
      return true;
    },
  });
}
