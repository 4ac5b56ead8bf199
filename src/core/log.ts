import { plain } from "./text.ts";

export const levels = ["debug", "info", "warn", "error"] as const;
type Level = (typeof levels)[number];
type Facts = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Writes one line per event; it must never be given a secret. */
export type Logger = {
  readonly [L in Level]: (message: string, facts?: Facts) => void;
};

export type LogOptions = { level: Level; format: "json" | "text"; write: (line: string) => void };

/** A logger whose lines are JSON objects (`t`, `level`, `msg`, facts) or text; untrusted values cannot forge a line. */
export function createLogger({ level, format, write }: LogOptions): Logger {
  const least = levels.indexOf(level);
  const at =
    (name: Level) =>
    (message: string, facts: Facts = {}): void => {
      if (levels.indexOf(name) < least) return;
      const t = new Date().toISOString();
      if (format === "json") return write(`${plain(JSON.stringify({ t, level: name, msg: message, ...facts }))}\n`);
      const tail = Object.entries(facts).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
      write(`${plain(`${t} ${name.padEnd(5)} ${message}${tail.join("")}`)}\n`);
    };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** A logger that discards everything. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };
