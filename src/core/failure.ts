import type { Logger } from "./log.ts";
import { rpcCodes } from "./rpc-code.ts";

/** How a call ended, as named by the audit log, the metrics and `--status`. */
export const statuses = [
  "ok",
  "tool_error",
  "rpc_error",
  "denied",
  "invalid",
  "rate_limited",
  "timeout",
  "cancelled",
  "unavailable",
  "lost",
  "error",
  "auth-failed",
] as const;
export type Status = (typeof statuses)[number];

/** The four groups that operators can filter by; each status belongs to one. */
const statusGroups = {
  success: ["ok"],
  error: ["tool_error", "rpc_error", "invalid", "timeout", "cancelled", "unavailable", "lost", "error"],
  denied: ["denied", "auth-failed"],
  "rate-limited": ["rate_limited"],
} as const satisfies Record<string, readonly Status[]>;

export const groupNames = Object.keys(statusGroups);

/** Returns the statuses that a word selects: those of a group, or the one status that it names. */
export function statusesOf(word: string): readonly string[] {
  return Object.hasOwn(statusGroups, word) ? statusGroups[word as keyof typeof statusGroups] : [word]; // just checked
}

/** The statuses that `audit stats` and `usage` count as denied: by policy, authentication or rate limit. */
export const denials: ReadonlySet<string> = new Set([...statusGroups.denied, ...statusGroups["rate-limited"]]);

type Row = {
  /** HTTP status for a modern client. */
  http: number;
  /** HTTP status for a legacy client, which takes 404 for the end of its session and disconnects. */
  legacyHttp?: number;
  /** JSON-RPC error code; outside -32768..-32000 if the specification names none. */
  rpc: number;
  /** The code for a legacy client that reads a resource, if its revisions use a different one. */
  legacyRpc?: number;
  status: Status;
  /** `tool`: a call that reached a tool is answered with an `isError` result that the agent can act on. */
  as: "error" | "tool";
  retryable?: boolean;
};

/** Every way in which a request can fail, and how wire, audit log and metrics report it. There is no other table. */
export const failures = {
  "parse-error": { http: 400, rpc: rpcCodes.parseError, status: "invalid", as: "error" },
  "invalid-request": { http: 400, rpc: rpcCodes.invalidRequest, status: "invalid", as: "error" },
  "bad-envelope": { http: 400, rpc: rpcCodes.invalidParams, status: "invalid", as: "error" },
  "invalid-params": { http: 200, rpc: rpcCodes.invalidParams, status: "invalid", as: "error" },
  "header-mismatch": { http: 400, rpc: rpcCodes.headerMismatch, status: "invalid", as: "error" },
  "missing-capability": { http: 400, rpc: rpcCodes.missingCapability, status: "invalid", as: "error" },
  "unsupported-version": { http: 400, rpc: rpcCodes.unsupportedVersion, status: "invalid", as: "error" },
  "unknown-endpoint": { http: 404, rpc: rpcCodes.invalidRequest, status: "denied", as: "error" },
  "unknown-method": { http: 404, legacyHttp: 200, rpc: rpcCodes.methodNotFound, status: "invalid", as: "error" },
  "body-too-large": { http: 413, rpc: rpcCodes.invalidRequest, status: "invalid", as: "error" },
  "body-timeout": { http: 408, rpc: rpcCodes.invalidRequest, status: "invalid", as: "error" },
  "unknown-expectation": { http: 417, rpc: rpcCodes.invalidRequest, status: "invalid", as: "error" },
  "unsupported-media": { http: 415, rpc: rpcCodes.invalidRequest, status: "invalid", as: "error" },
  "not-acceptable": { http: 406, rpc: rpcCodes.invalidRequest, status: "invalid", as: "error" },
  "bad-origin": { http: 403, rpc: rpcCodes.invalidRequest, status: "invalid", as: "error" },
  "session-not-found": { http: 404, rpc: rpcCodes.sessionNotFound, status: "invalid", as: "error" },
  unauthenticated: { http: 401, rpc: -31401, status: "auth-failed", as: "error" },
  "two-credentials": { http: 400, rpc: -31400, status: "auth-failed", as: "error" },
  frozen: { http: 403, rpc: -31403, status: "auth-failed", as: "error" },
  throttled: { http: 429, rpc: -31429, status: "auth-failed", as: "error", retryable: true },
  "rights-lost": { http: 401, rpc: -31401, status: "cancelled", as: "error" },
  "unknown-tool": { http: 200, rpc: rpcCodes.invalidParams, status: "denied", as: "error" },
  "unknown-prompt": { http: 200, rpc: rpcCodes.invalidParams, status: "denied", as: "error" },
  "unknown-resource": {
    http: 200,
    rpc: rpcCodes.invalidParams,
    legacyRpc: rpcCodes.resourceNotFound,
    status: "denied",
    as: "error",
  },
  "unknown-task": { http: 200, rpc: rpcCodes.invalidParams, status: "denied", as: "error" },
  denied: { http: 200, rpc: rpcCodes.invalidParams, status: "denied", as: "tool" },
  "invalid-arguments": { http: 200, rpc: rpcCodes.invalidParams, status: "invalid", as: "tool" },
  "bad-state": { http: 200, rpc: rpcCodes.invalidParams, status: "invalid", as: "error" },
  "input-undeclared": { http: 200, rpc: rpcCodes.internalError, status: "error", as: "tool" },
  "input-unavailable": { http: 200, rpc: rpcCodes.internalError, status: "error", as: "tool" },
  "rate-limited": { http: 200, rpc: rpcCodes.internalError, status: "rate_limited", as: "tool", retryable: true },
  crowded: { http: 503, rpc: rpcCodes.internalError, status: "unavailable", as: "error", retryable: true },
  overloaded: { http: 503, rpc: rpcCodes.internalError, status: "unavailable", as: "error", retryable: true },
  "audit-unavailable": { http: 503, rpc: rpcCodes.internalError, status: "unavailable", as: "error", retryable: true },
  "upstream-down": { http: 200, rpc: rpcCodes.internalError, status: "error", as: "tool" },
  "upstream-overloaded": { http: 200, rpc: rpcCodes.internalError, status: "error", as: "tool" },
  "upstream-protocol": { http: 200, rpc: rpcCodes.internalError, status: "error", as: "tool" },
  "result-too-large": { http: 200, rpc: rpcCodes.internalError, status: "error", as: "tool" },
  timeout: { http: 200, rpc: rpcCodes.internalError, status: "timeout", as: "tool" },
  lost: { http: 200, rpc: rpcCodes.internalError, status: "lost", as: "tool" },
  cancelled: { http: 200, rpc: rpcCodes.internalError, status: "cancelled", as: "error" },
  internal: { http: 500, rpc: rpcCodes.internalError, status: "error", as: "error" },
} as const satisfies Record<string, Row>;

export type FailureCode = keyof typeof failures;

/** The failures that do not reveal whether their target is hidden from the caller or does not exist. */
export const unknownTargets: ReadonlySet<string | undefined> = new Set([
  "unknown-tool",
  "unknown-prompt",
  "unknown-resource",
  "unknown-task",
] satisfies FailureCode[]);

/** Optional details of a failure, safe to show to the caller unless noted. */
export type FailureDetail = {
  /** The rule that denied, as the configuration names it. */
  rule?: string | undefined;
  /** Milliseconds until a retry makes sense. */
  retryAfterMs?: number | undefined;
  /** The limit that was reached, e.g. `perMinute`. */
  limit?: string | undefined;
  /** `error.data` of the JSON-RPC error. */
  data?: Record<string, unknown>;
  /** The error with which a legacy server refused, raw JSON; a legacy caller gets it instead of the sentence. */
  refusal?: string;
  /** HTTP `WWW-Authenticate` challenge. */
  challenge?: string;
  /** Whether the server has run the call; appended to the sentence. */
  ran?: keyof typeof runs;
  /** What the caller can do; appended last. */
  advice?: string;
  /** For the audit log and operators only, never for the caller. */
  internal?: string | undefined;
};

const runs = {
  no: "The call did not run.",
  maybe: "The call may have run: check before you repeat it.",
  yes: "The call has run.",
} as const;

/** The only error that the request path throws on purpose: a code of the table and a sentence for the caller. */
export class Failure extends Error {
  readonly code: FailureCode;
  /** The sentence alone. The caller gets `message`. */
  readonly said: string;
  readonly detail: FailureDetail;

  constructor(code: FailureCode, said: string, detail: FailureDetail = {}) {
    const { ran, advice } = detail;
    super([said, ran && runs[ran], advice].filter(Boolean).join(" "));
    this.name = "Failure";
    this.code = code;
    this.said = said;
    this.detail = detail;
  }

  get row(): Row {
    return failures[this.code];
  }
}

/** Returns the failure of a call whose server's answer violates the protocol. */
export const protocolViolation = (server: string, what: string): Failure =>
  new Failure("upstream-protocol", `The server "${server}" violated the protocol: ${what}.`, {
    ran: "maybe",
    internal: what,
  });

/** The failure of a call that its server cannot take now. */
export const serverDown = (server: string, reason: string, retryAfterMs?: number): Failure =>
  new Failure("upstream-down", `The server "${server}" is not available: ${reason}.`, {
    ran: "no",
    retryAfterMs,
    internal: reason,
  });

/**
 * Turns any thrown value into a Failure; the caller sees nothing of an unexpected error. If disposal fails too, the
 * first failure decides how the call ends, and operators see both.
 */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof SuppressedError) {
    const { code, said, detail } = asFailure(error.suppressed);
    return new Failure(code, said, {
      ...detail,
      internal: [detail.internal, causeOf(error.error)].filter(Boolean).join("\n"),
    });
  }
  return new Failure(
    "internal",
    "The gateway failed to handle this request; its operator can find the cause in the log.",
    {
      internal: causeOf(error),
    },
  );
}

/** Turns any thrown value into a Failure, and logs one that operators must know of. */
export function failureFrom(error: unknown, log: Logger): Failure {
  const failure = asFailure(error);
  const { code, message, row, detail } = failure;
  // Browsers do not show the response to anyone, so it is logged.
  if (code === "bad-origin") log.warn("request refused", { cause: detail.internal ?? message }, code);
  // Anyone can send a wrong credential, so it is not logged here; the audit logs it once per source.
  else if (detail.internal && row.status !== "auth-failed")
    log.error("request failed", { cause: detail.internal }, code);
  return failure;
}

/** Returns the cause of an error, for operators. An aborted request throws an error with an empty stack. */
export const causeOf = (error: unknown): string =>
  error instanceof Failure
    ? (error.detail.internal ?? error.message)
    : (error instanceof Error && error.stack) || String(error);
