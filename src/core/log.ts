export const levels = ["debug", "info", "warn", "error"] as const;
export type Level = (typeof levels)[number];
export type LogFacts = Readonly<Record<string, string | number | boolean | null | undefined>>;

/**
 * Writes one line per event; it must never be given a secret. Events that callers can cause without limit get a `kind`:
 * of each kind and message, one line a minute for the first, and one with the count of the others and the facts that
 * they share.
 */
export type Logger = {
  readonly [L in Level]: (message: string, facts?: LogFacts, kind?: string) => void;
};

/** A logger that discards everything. */
export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };
