import { formatDuration } from "../core/duration.ts";
import { Failure } from "../core/failure.ts";
import { cut, plain } from "../core/text.ts";

// What a caller reads when a server fails it. Each sentence says whether the call may have run.

const mayHaveRun = "The call may have run: check before you repeat it.";
const didNotRun = "The call did not run.";

/** A server's own words, shortened and safe to print. */
export const quoted = (text: string): string => plain(cut(text.replace(/\s+/g, " ").trim(), 200));

/** Why something failed, without the words for the caller. */
export function reasonOf(error: unknown): string {
  if (error instanceof Failure) return error.detail.internal ?? error.message;
  return error instanceof Error ? error.message : String(error);
}

export const faults = {
  timeout: (server: string, ms: number): Failure => {
    const reason = `did not answer within ${formatDuration(ms)}`;
    return new Failure("timeout", `The server "${server}" ${reason}. ${mayHaveRun}`, { internal: `it ${reason}` });
  },
  cancelled: (): Failure => new Failure("cancelled", "The call was cancelled."),
  lost: (server: string, reason: string): Failure =>
    new Failure("lost", `The server "${server}" went away during the call (${reason}). ${mayHaveRun}`, {
      internal: reason,
    }),
  down: (server: string, reason: string, retryAfterMs?: number): Failure =>
    new Failure("upstream-down", `The server "${server}" is not available: ${reason}. ${didNotRun}`, {
      ...(retryAfterMs !== undefined && { retryAfterMs }),
      internal: reason,
    }),
  overloaded: (server: string, reason: string): Failure =>
    new Failure(
      "upstream-overloaded",
      `The server "${server}" is overloaded: ${reason}. ${didNotRun} Try again later.`,
    ),
  protocol: (server: string, reason: string): Failure =>
    new Failure("upstream-protocol", `The server "${server}" broke the protocol: ${reason}. ${mayHaveRun}`, {
      internal: reason,
    }),
  /** An answer that cannot be used, for a reason that may be a sentence of its own. */
  unusable: (server: string, reason: string): Failure => {
    const words = /^(An?|The) /.test(reason) ? `: ${reason.replace(/(; [^;]*)?\.$/, "")}` : ` has ${reason}`;
    return faults.protocol(server, `its answer${words}`);
  },
  tooLarge: (server: string, max: number): Failure =>
    new Failure(
      "result-too-large",
      `The result of the server "${server}" is larger than ${max} bytes. The call has run.`,
    ),
} as const;

/** The failure of a request that changes nothing: whether it has run is no matter. */
export function ofReading(error: unknown): unknown {
  if (!(error instanceof Failure) || !error.message.endsWith(mayHaveRun)) return error;
  return new Failure(error.code, error.message.slice(0, -mayHaveRun.length).trimEnd(), error.detail);
}

/** A failure of which the HTTP status is known: what a server speaks can be read from some. */
export class HttpFailure extends Failure {
  readonly status: number;

  constructor({ code, message, detail }: Failure, status: number) {
    super(code, message, detail);
    this.status = status;
  }
}
