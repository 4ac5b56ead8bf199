import { type Clock, systemClock } from "../core/clock.ts";
import { common, createCoalescer } from "../core/coalesce.ts";
import { priorityMarks } from "../core/journal.ts";
import { type Level, levels, type LogFacts, type Logger } from "../core/log.ts";
import { plain, plainJson } from "../core/text.ts";
import { LineWriter } from "./stdio.ts";

type Line = LogFacts & { readonly level: Level; readonly msg: string };

/** Which lines are written, and how. */
export type LogStyle = { readonly level: Level; readonly format: "json" | "text" };

export type LogOptions = LogStyle & {
  /** False: the line cannot be taken now; it is lost, and counted. */
  readonly write: (line: string, level: Level) => boolean;
  readonly clock?: Clock;
};

/** Milliseconds between two looks at what was counted. */
const look = 1_000;

/** The log of a process. */
export type OwnLog = Logger & {
  /** What a reload has put into force. */
  configure(style: LogStyle): void;
  /** Writes what was only counted so far. */
  flush(): void;
};

/** A logger whose lines are JSON objects (`t`, `level`, `msg`, facts) or text; untrusted values cannot forge a line. */
export function createLogger(options: LogOptions): OwnLog {
  const { write, clock = systemClock } = options;
  let { format } = options;
  let least = levels.indexOf(options.level);
  const repeated = createCoalescer<Line>(1, clock, (a, b) => ({ ...common(a, b), level: a.level, msg: a.msg }));
  let timer: Timer | undefined;
  let lost = 0;

  function put(line: Line): void {
    const gap: Line = { level: "warn", msg: "lines of the log are lost, as nobody read it", lines: lost };
    if (lost > 0 && write(spell(gap, format), gap.level)) lost = 0;
    if (!write(spell(line, format), line.level)) lost += 1;
  }

  function putCounted(all: boolean): void {
    for (const { all: line, count } of repeated.due(all)) put({ ...line, count });
  }

  const at =
    (name: Level) =>
    (msg: string, facts?: LogFacts, kind?: string): void => {
      if (levels.indexOf(name) < least) return;
      const line = { level: name, msg, ...facts };
      if (kind !== undefined) {
        timer ??= setInterval(putCounted, look, false).unref();
        if (!repeated.take(`${msg} ${kind}`, "", () => line)) return;
      }
      put(line);
    };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    configure(style) {
      ({ format } = style);
      least = levels.indexOf(style.level);
    },
    flush: () => putCounted(true),
  };
}

function spell({ level, msg, ...facts }: Line, format: LogStyle["format"]): string {
  const t = new Date().toISOString();
  if (format === "json") return `${plainJson(JSON.stringify({ t, level, msg, ...facts }))}\n`;
  const known = Object.entries(facts).filter(([, value]) => value !== undefined);
  const tail = known.map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
  return `${plain(`${t} ${level.padEnd(5)} ${msg}${tail.join("")}`)}\n`;
}

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
