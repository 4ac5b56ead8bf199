import { formatDuration } from "../core/duration.ts";
import { codeOf, messageOf } from "../core/error-text.ts";
import { protocolViolation, Failure, serverDown } from "../core/failure.ts";
import { maskSpelled, spellingsOf } from "../core/secret.ts";
import { cut, plain } from "../core/text.ts";

// The errors that a caller sees when a server fails. Each says whether the call may have run.

/** The maximum number of characters of a server's text that are looked at. */
const maxWordsLength = 8 * 1024;

/**
 * Returns a server's own text, shortened and safe to print. The `secrets` are masked: many servers repeat the
 * credentials that they reject, and others than the caller see the text too.
 */
export function quoted(text: string, secrets: readonly string[]): string {
  const shown = maskSpelled(text.slice(0, maxWordsLength), spellingsOf(secrets));
  return plain(cut(shown.replace(/\s+/g, " ").trim(), 200));
}

/** Returns why something failed, for the log and for operators; the text for the caller is longer. */
export function reasonOf(error: unknown): string {
  if (error instanceof Failure) return error.detail.internal ?? error.said;
  return messageOf(error);
}

export const faults = {
  timeout: (server: string, ms: number): Failure => {
    const reason = `did not answer within ${formatDuration(ms)}`;
    return new Failure("timeout", `The server "${server}" ${reason}.`, { ran: "maybe", internal: `it ${reason}` });
  },
  cancelled: (): Failure => new Failure("cancelled", "The call was cancelled."),
  lost: (server: string, reason: string): Failure =>
    new Failure("lost", `The server "${server}" went away during the call (${reason}).`, {
      ran: "maybe",
      internal: reason,
    }),
  down: serverDown,
  /** The gateway has no capacity for one more call to this server. */
  full: (server: string, reason: string, retryAfterMs = 1_000): Failure =>
    new Failure("overloaded", `The server "${server}" is overloaded: ${reason}.`, { ran: "no", retryAfterMs }),
  /** The server itself reports that it is overloaded. */
  overloaded: (server: string, reason: string, retryAfterMs?: number): Failure =>
    new Failure("upstream-overloaded", `The server "${server}" is overloaded: ${reason}.`, {
      ran: "no",
      retryAfterMs,
      advice: `Try again ${retryAfterMs === undefined ? "later" : `in ${Math.ceil(retryAfterMs / 1000)} s`}.`,
    }),
  /** The only headers whose length depends on the caller are those that mirror the call. */
  longHeaders: (server: string): Failure =>
    new Failure(
      "invalid-arguments",
      `The server "${server}" rejects the headers of this request as too long (HTTP 431); shorten the argument that a header mirrors.`,
      { ran: "no" },
    ),
  /** The answer does not fit into the `max` bytes reserved for answers in flight. */
  crowded: (server: string, from: string, max: number): Failure =>
    new Failure(
      "upstream-overloaded",
      `The answer of the server "${server}" does not fit beside the other answers in flight from ${from}: the gateway holds at most ${max} bytes of them.`,
      { ran: "maybe", advice: "Ask for fewer large results at once." },
    ),
  protocol: protocolViolation,
  tooLarge: (server: string, max: number): Failure =>
    new Failure(
      "result-too-large",
      `The result of the server "${server}" is larger than ${max} bytes (limits.result).`,
      {
        ran: "yes",
      },
    ),
  tooMuch: (server: string, what: string): Failure =>
    new Failure("result-too-large", `The result of the server "${server}" is too large to read: ${what}.`, {
      ran: "yes",
      internal: what,
    }),
} as const;

/** The failure of a call that was not sent, because something that it waited for failed (its `cause`). */
export function unsent(server: string, error: unknown, reason: string = reasonOf(error)): Failure {
  if (error instanceof Failure && error.detail.ran === "no") return error;
  return Object.assign(faults.down(server, reason), { cause: error });
}

/** The server speaks no legacy revision that the gateway knows. */
export class NoRevision extends Failure {
  constructor(server: string, why: string) {
    const { code, said, detail } = faults.down(server, `no common protocol revision (${why})`);
    super(code, said, detail);
  }
}

/** A failure with its HTTP status, because some statuses show which era a server speaks. */
export class HttpFailure extends Failure {
  readonly status: number;

  constructor({ code, said, detail }: Failure, status: number) {
    super(code, said, detail);
    this.status = status;
  }
}

const shortages = /^(EADDRNOTAVAIL|EMFILE|ENFILE)$/;

/** The gateway itself has no ports or file descriptors left to reach a server. */
export class Shortage extends Failure {
  /** Returns null for any other kind of error. */
  static of(server: string, error: unknown): Shortage | null {
    const code = codeOf(error) ?? "";
    return shortages.test(code)
      ? new Shortage(server, `the gateway cannot open a connection to it now (${code})`)
      : null;
  }

  private constructor(server: string, internal: string) {
    const { code, said, detail } = faults.full(server, internal);
    super(code, said, { ...detail, internal });
  }
}

/**
 * Reports whether a failure is not evidence against the server: the server only asked to wait, or the gateway could not
 * ask it at all. A 503 does not count, because it may come from a proxy with no server behind it.
 */
export function isNotServerFault(error: unknown): boolean {
  return error instanceof HttpFailure ? error.status === 429 : error instanceof Shortage;
}

/**
 * Reports whether a failure shows nothing about what the server speaks. This includes a proxy that asks to wait, since
 * it knows nothing about that either.
 */
export const isInconclusive = (error: unknown): boolean =>
  isNotServerFault(error) ||
  (error instanceof HttpFailure && error.status === 503 && error.detail.retryAfterMs !== undefined);
