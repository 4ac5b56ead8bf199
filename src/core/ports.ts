import type { Call, Reply, Route, Tool, Verdict } from "./call.ts";
import type { Era } from "./inbound.ts";
import type { Principal, Source } from "./principal.ts";

// What the stages of the path need from each other. Modules of one level never import each other: they meet here.

/** What of a request says who sends it. */
export type Presented = Pick<Call, "credentials" | "source" | "vouched">;

/** Identifies the caller; throws `unauthenticated`, `two-credentials`, `frozen` or `throttled`. */
export type Authn = { identify(presented: Presented): Principal };

/** Slows sources whose credentials keep failing; in memory, bounded. */
export type Throttle = {
  /** Milliseconds until this source may try again, 0 when it may now. */
  blockedFor(source: Source): number;
  failed(source: Source): void;
};

export type Limits = Throttle & {
  /** Before any work, every method: requests in flight, per principal and in all. Throws `overloaded`. */
  admit(call: Call, who: Principal): void;
  /** Gives back what `admit` took; called once for each admitted call. */
  release(call: Call, who: Principal): void;
  /** After the decision: takes a token of the consumer's, the key's and the tool's bucket. Throws `rate-limited`. */
  take(call: Call, who: Principal, route: Route): void;
};

export type Policy = {
  /** SHA-256 of the compiled rules, hex; recorded with every decision. */
  readonly digest: string;
  /** Throws `denied` (with the rule and what to change), or `unknown-tool` where the tool is hidden from the caller. */
  decide(call: Call, who: Principal, route: Route): Verdict;
  /**
   * Whether some arguments would be allowed: exactly the tools a list shows. Without a source, what depends on one is
   * not shown.
   */
  lists(who: Principal, route: Route, source?: Source): boolean;
  /** Whether the caller may use a named capability of the gateway, e.g. `mcpgw:metrics`. */
  permits(who: Principal, capability: string): boolean;
};

export type Catalog = {
  /** Whether there is a tool of this wire name, for whomever. */
  offers(name: unknown): boolean;
  /** Throws `unknown-tool`, with the same words for a tool that is missing and one that is hidden. */
  resolve(call: Call, who: Principal): Route;
  /** Route by canonical name; null when there is none. */
  find(canonical: string): Route | null;
  /** The `tools` array of tools/list for this caller in the words of its era, as JSON text. */
  list(who: Principal, source: Source, era: Era): string;
  /** Everything there is, sorted by wire name. */
  routes(): readonly Route[];
  /** Tools that are not offered, each with a reason. */
  hidden(): readonly { readonly canonical: string; readonly reason: string }[];
};

/** Checks a call's arguments against its tool's schema; throws `invalid-arguments` naming each path that is wrong. */
export type Validator = {
  check(call: Call, route: Route): void;
  /** Why a tool's schema cannot be used, null when it can; hides the tool. */
  refuses(tool: Tool): string | null;
};

/** Events of the audit chain that are not calls. */
export type AuditEvent = {
  readonly type:
    | "session.open"
    | "session.close"
    | "auth.failed"
    | `admin.${string}`
    | `key.${string}`
    | `config.${string}`
    | `server.${string}`;
  /** Who did it: a principal id, or `system`. */
  readonly actor: string;
  /** Flat facts; no secrets. */
  readonly facts: Readonly<Record<string, string | number | boolean | null>>;
};

export type Audit = {
  /** Commits the intent (`call.begin`); throws `audit-unavailable`. Resolves as durable as the mode demands. */
  begin(call: Call): Promise<void>;
  /** Commits the ending (`call.end`, or `call.refused` where nothing began) before the reply may leave. */
  end(call: Call): Promise<void>;
  /** Commits an event; resolves once it is committed. */
  note(event: AuditEvent): Promise<void>;
};

export type ServerState =
  | "disabled"
  | "idle"
  | "starting"
  | "ready"
  | "backoff"
  | "open-circuit"
  | "failed"
  | "stopping";

/** One managed server as status, CLI and TUI show it. */
export type ServerStatus = {
  readonly id: string;
  readonly name: string;
  readonly transport: "stdio" | "http" | "builtin";
  readonly state: ServerState;
  readonly era: Era | null;
  readonly revision: string | null;
  readonly instances: number;
  readonly pids: readonly number[];
  readonly tools: number;
  readonly restarts: number;
  readonly inFlight: number;
  /** Why it is not ready; null when it is. */
  readonly reason: string | null;
  /** Epoch µs of the last successful listing; null before the first. */
  readonly listedAt: number | null;
  readonly sandbox: "none";
  /** Messages that belonged to nothing: late, foreign, unsolicited. */
  readonly dropped?: number;
};

/** What a server offers now (or offered last, when `stale`). */
export type Listing = {
  readonly server: string;
  readonly tools: readonly Tool[];
  readonly stale: boolean;
  /** Tools that the server defined in a way that cannot be offered, each with a reason. */
  readonly leftOut?: readonly { readonly name: string; readonly reason: string }[];
};

/** The managed servers. `send` is the path's last step before the answer; the rest is for the catalog and operators. */
export type Upstreams = {
  /** Throws `upstream-down`, `upstream-overloaded`, `upstream-protocol`, `result-too-large`, `timeout`, `lost`, `cancelled`. */
  send(call: Call, who: Principal, route: Route): Promise<Reply>;
  listings(): readonly Listing[];
  /** Called after any server's tools or state changed. Returns the way to stop listening. */
  onChange(listener: () => void): () => void;
  status(): readonly ServerStatus[];
  /** Resolves once each server that starts at boot was listed once or failed. */
  settled(): Promise<void>;
};

/** A server inside the process: the gateway's own tools. */
export type LocalServer = {
  readonly id: string;
  readonly tools: readonly Tool[];
  call(call: Call, who: Principal, tool: string, args: unknown): Promise<Reply>;
};

/** Counters on the path; feeds metrics only, never usage. */
export type Metrics = { count(call: Call): void };
