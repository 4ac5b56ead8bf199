import { type Clock, systemClock } from "../core/clock.ts";
import { common, createCoalescer } from "../core/coalesce.ts";
import { priorityMarks } from "../core/journal.ts";
import { type Level, levels, type LogFacts, type Logger } from "../core/log.ts";
import { plain, plainJson } from "../core/text.ts";
import { LineWriter } from "./stdio.ts";

type Line = LogFacts & { readonly level: Level; readonly msg: string };

/** The minimum level and the format of log lines. */
export type LogStyle = { readonly level: Level; readonly format: "json" | "text" };

export type LogOptions = LogStyle & {
  /** Returns false if the line cannot be written now; it is then dropped and counted. */
  readonly write: (line: string, level: Level) => boolean;
  readonly clock?: Clock;
};

/** How often to write counts of repeated lines, ms. */
const look = 1_000;

/** The log of a process. */
export type OwnLog = Logger & {
  /** Applies the style of a reloaded configuration. */
  configure(style: LogStyle): void;
  /** Writes repeated lines that have only been counted so far. */
  flush(): void;
};

/** Returns a logger of JSON lines (`t`, `level`, `msg`, facts) or text lines. Untrusted values cannot forge a line. */
export function createLogger(options: LogOptions): OwnLog {
  const { write, clock = systemClock } = options;
  let { format } = options;
  let least = levels.indexOf(options.level);
  const repeated = createCoalescer<Line>(1, clock, (a, b) => ({ ...common(a, b), level: a.level, msg: a.msg }));
  let timer: Timer | undefined;
  let lost = 0;

  function put(line: Line): void {
    const gap: Line = { level: "warn", msg: "log lines were lost because nobody read the log", lines: lost };
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

/** Maximum number of bytes queued for the log's reader; further lines are dropped and counted. */
const maxUnread = 1 << 20;

/** Opens the log of this process on standard error. */
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
