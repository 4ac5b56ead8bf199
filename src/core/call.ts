import type { Failure, Status } from "./failure.ts";
import type { Era, Inbound } from "./inbound.ts";
import type { Credential, Principal, Source } from "./principal.ts";

/** A tool as a server defined it; `text` is its definition exactly as received. */
export type Tool = {
  readonly name: string;
  readonly text: string;
  /** Parsed, untrusted. */
  readonly inputSchema: unknown;
};

/** Where a call goes: one tool of one server. Built once per catalog, compared by identity. */
export type Route = {
  readonly server: string;
  readonly tool: Tool;
  /** `server:tool`, what policy, audit and CLI speak. */
  readonly canonical: string;
  /** The name on the wire. */
  readonly wire: string;
};

/** What policy said: the rule that decided, null for the default deny. */
export type Verdict = { readonly rule: string | null; readonly reason: string };

/** The answer of an upstream, as text so that it travels untouched. */
export type Reply =
  | {
      readonly kind: "result";
      readonly era: Era;
      /** The `result` value as received. */
      readonly text: string;
      readonly isError: boolean;
    }
  | {
      readonly kind: "error";
      readonly era: Era;
      /** The `error` object as received. */
      readonly text: string;
      readonly code: number;
    };

const known: ReadonlySet<string> = new Set([
  "initialize",
  "server/discover",
  "ping",
  "tools/list",
  "tools/call",
  "notifications/initialized",
  "notifications/cancelled",
]);

/** A session and the principal it belongs to. */
export type SessionRef = { readonly id: string; readonly owner: string };

export type CallInit = {
  id: string;
  /** Wall clock, µs since the epoch. */
  at: number;
  /** Monotonic clock, µs. */
  started: number;
  inbound: Inbound;
  source: Source;
  credentials: readonly Credential[];
  /** Set when the transport itself vouches for the caller (control socket, embedded stdio). */
  vouched: Principal | null;
  session: SessionRef | null;
  fault: Failure | null;
  controller: AbortController;
  emit: ((notification: string) => void) | null;
};

/**
 * One request from a caller, from its arrival to its end. All fields exist from birth, each stage of the path fills
 * its own, and audit, usage, metrics and tail read this one object.
 */
export class Call {
  readonly id: string;
  readonly at: number;
  readonly started: number;
  readonly inbound: Inbound;
  readonly source: Source;
  readonly credentials: readonly Credential[];
  readonly vouched: Principal | null;
  /** Legacy session, null for sessionless and modern requests. */
  readonly session: SessionRef | null;
  /** What the transport found wrong with the message; the path refuses it once the caller is known. */
  readonly fault: Failure | null;
  /** Ends the call: the caller cancels or disconnects (modern), its time is up, or the gateway stops. */
  readonly controller: AbortController;
  /** Sends a notification related to this call to its caller; null where the transport cannot. */
  readonly emit: ((notification: string) => void) | null;

  who: Principal | null = null;
  /** The canonical name asked for, when known even without a route. */
  target: string | null = null;
  route: Route | null = null;
  verdict: Verdict | null = null;
  /** SHA-256 of the policy bundle that decided, hex. */
  policy: string | null = null;
  /** True once the intent record is committed: from here on an ending is `call.end`, before it `call.refused`. */
  begun = false;
  reply: Reply | null = null;
  failure: Failure | null = null;
  /** Duration in µs, set once at the end. */
  took = 0;

  constructor(init: CallInit) {
    this.id = init.id;
    this.at = init.at;
    this.started = init.started;
    this.inbound = init.inbound;
    this.source = init.source;
    this.credentials = init.credentials;
    this.vouched = init.vouched;
    this.session = init.session;
    this.fault = init.fault;
    this.controller = init.controller;
    this.emit = init.emit;
  }

  /** The method as a bounded label: one that the gateway serves, or `other`. */
  get knownMethod(): string {
    return known.has(this.inbound.method) ? this.inbound.method : "other";
  }

  /** How the call ended; `ok` only with a result that is no tool error. */
  get status(): Status {
    if (this.failure) return this.failure.row.status;
    if (this.reply?.kind === "error") return "rpc_error";
    return this.reply?.isError ? "tool_error" : "ok";
  }

  /** The call's `arguments` exactly as received, `{}` when absent. */
  get argumentsText(): string {
    const span = this.inbound.spans.arguments;
    return span ? this.inbound.text.slice(span[0], span[1]) : "{}";
  }
}
