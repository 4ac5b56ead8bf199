export const levels = ["debug", "info", "warn", "error"] as const;
export type Level = (typeof levels)[number];
export type LogFacts = Readonly<Record<string, string | number | boolean | null | undefined>>;

/**
 * Writes one line per event; it must never be given a secret. What callers can cause as often as they like is given a
 * `kind`: one line a minute for the first of each kind and message, and one with the count of the others and what is
 * true of all of them.
 */
export type Logger = {
  readonly [L in Level]: (message: string, facts?: LogFacts, kind?: string) => void;
};

/** A logger that discards everything. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };
