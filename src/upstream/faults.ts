import { formatDuration } from "../core/duration.ts";
import { codeOf, messageOf } from "../core/error-text.ts";
import { brokeProtocol, Failure, serverDown } from "../core/failure.ts";
import { maskSpelled, spellingsOf } from "../core/secret.ts";
import { cut, plain } from "../core/text.ts";

// The errors that a caller reads when a server fails. Each says whether the call may have run.

/** Most characters of a server's words that are looked at. */
const longestWords = 8 * 1024;

/**
 * A server's own words, shortened and safe to print. Without the `secrets`: many servers repeat the credentials that
 * they refuse, and what is said of a server is told to others than its caller.
 */
export function quoted(text: string, secrets: readonly string[]): string {
  const shown = maskSpelled(text.slice(0, longestWords), spellingsOf(secrets));
  return plain(cut(shown.replace(/\s+/g, " ").trim(), 200));
}

/** Why something failed, for the log and for operators; the sentence for the caller is longer. */
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
  /** The gateway has no room for one more call to this server. */
  full: (server: string, reason: string, retryAfterMs = 1_000): Failure =>
    new Failure("overloaded", `The server "${server}" is overloaded: ${reason}.`, { ran: "no", retryAfterMs }),
  /** The server itself says that it is overloaded. */
  overloaded: (server: string, reason: string, retryAfterMs?: number): Failure =>
    new Failure("upstream-overloaded", `The server "${server}" is overloaded: ${reason}.`, {
      ran: "no",
      retryAfterMs,
      advice: `Try again ${retryAfterMs === undefined ? "later" : `in ${Math.ceil(retryAfterMs / 1000)} s`}.`,
    }),
  /** Of the headers that a server is sent, a caller can make long only those that mirror the call. */
  longHeaders: (server: string): Failure =>
    new Failure(
      "invalid-arguments",
      `The server "${server}" takes no headers as long as those of this request (HTTP 431); an argument that one mirrors has to be shorter.`,
      { ran: "no" },
    ),
  /** Its answer has no room beside others that are on their way, which have at most `max` bytes. */
  crowded: (server: string, from: string, max: number): Failure =>
    new Failure(
      "upstream-overloaded",
      `The answer of the server "${server}" has no room beside the answers on their way from ${from}: the gateway holds at most ${max} bytes of them.`,
      { ran: "maybe", advice: "Ask for fewer large results at once." },
    ),
  protocol: brokeProtocol,
  tooLarge: (server: string, max: number): Failure =>
    new Failure(
      "result-too-large",
      `The result of the server "${server}" is larger than ${max} bytes (limits.result).`,
      {
        ran: "yes",
      },
    ),
  tooMuch: (server: string, what: string): Failure =>
    new Failure("result-too-large", `The result of the server "${server}" is too much to be read: ${what}.`, {
      ran: "yes",
      internal: what,
    }),
} as const;

/**
 * The failure of a call that waited for something else, which failed (its `cause`): whatever that did, the call was not
 * sent.
 */
export function unsent(server: string, error: unknown, reason: string = reasonOf(error)): Failure {
  if (error instanceof Failure && error.detail.ran === "no") return error;
  return Object.assign(faults.down(server, reason), { cause: error });
}

/** The server speaks no revision of the legacy era that the gateway knows. */
export class NoRevision extends Failure {
  constructor(server: string, why: string) {
    const { code, said, detail } = faults.down(server, `no common protocol revision (${why})`);
    super(code, said, detail);
  }
}

/** A failure with its HTTP status: some statuses show which era a server speaks. */
export class HttpFailure extends Failure {
  readonly status: number;

  constructor({ code, said, detail }: Failure, status: number) {
    super(code, said, detail);
    this.status = status;
  }
}

const shortages = /^(EADDRNOTAVAIL|EMFILE|ENFILE)$/;

/** The gateway itself has no ports or descriptors left to reach a server by. */
export class Shortage extends Failure {
  /** Null for an error that means something else. */
  static of(server: string, error: unknown): Shortage | null {
    const code = codeOf(error) ?? "";
    return shortages.test(code) ? new Shortage(server, `the gateway can make no connection to it now (${code})`) : null;
  }

  private constructor(server: string, internal: string) {
    const { code, said, detail } = faults.full(server, internal);
    super(code, said, { ...detail, internal });
  }
}

/**
 * Whether a failure says nothing against the server: it only asked to wait, or could not be asked at all. A 503 may
 * come from a proxy that has no server behind it.
 */
export function isInnocent(error: unknown): boolean {
  return error instanceof HttpFailure ? error.status === 429 : error instanceof Shortage;
}

/** Whether a failure shows nothing of what the server speaks: also a proxy that asks to wait knows no more of that. */
export const saysNothing = (error: unknown): boolean =>
  isInnocent(error) ||
  (error instanceof HttpFailure && error.status === 503 && error.detail.retryAfterMs !== undefined);
