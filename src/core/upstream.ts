import type { Item, Tool } from "./call.ts";
import type { Era, InputRequest } from "./inbound.ts";
import type { ListName } from "./lists.ts";

// The managed servers: their description, what they offer, and what passes between them and the gateway.

/** The transports for servers with a URL. */
export const urlTransports = ["http", "sse", "websocket"] as const;

/** All transports. */
export const transports = ["stdio", ...urlTransports, "builtin"] as const;

/** The tool servers built into the executable. */
export const builtinNames = ["calculator"] as const;
export type BuiltinName = (typeof builtinNames)[number];

export const serverStates = ["disabled", "idle", "starting", "ready", "backoff", "open-circuit", "stopping"] as const;
export type ServerState = (typeof serverStates)[number];

/** An instance that served callers, ended unexpectedly and is not running again yet. */
export type Down = {
  /** The principal that it serves; null if it serves all callers. */
  readonly owner: string | null;
  readonly reason: string;
  /** A call may start it again from this time on (epoch ms). */
  readonly until: number;
  /** True if it ended so often that its circuit breaker is open. */
  readonly open: boolean;
};

/** One managed server as status, CLI and TUI show it. */
export type ServerStatus = {
  readonly id: string;
  readonly name: string;
  readonly transport: (typeof transports)[number];
  readonly state: ServerState;
  readonly era: Era | null;
  readonly revision: string | null;
  /** The number of instances that callers use. */
  readonly instances: number;
  readonly pids: readonly number[];
  /** The process of the instance that the gateway itself uses for listings and health checks. */
  readonly ownPid: number | null;
  readonly tools: number;
  readonly restarts: number;
  readonly inFlight: number;
  /** Why it is not ready, which instances are down, or which lists are incomplete; null if all is well. */
  readonly reason: string | null;
  readonly down: readonly Down[];
  /** Epoch ms of the last successful listing; null before the first. */
  readonly listedAt: number | null;
  readonly sandbox: "none";
  /** The number of messages that belong to no exchange: late, foreign or unsolicited ones. */
  readonly dropped: number;
  /** Open streams that belong to no call. */
  readonly streams: number;
  /** Resources with at least one subscriber. */
  readonly subscriptions: number;
};

/** The lists of a server. */
export type Offers = Readonly<Record<Exclude<ListName, "tools">, readonly Item[]>> & {
  readonly tools: readonly Tool[];
};

/** What a server offers now, or offered last if `stale`. */
export type Listing = Offers & {
  readonly server: string;
  readonly stale: boolean;
  /** Why the server is unavailable now; null if it is available. */
  readonly reason: string | null;
  /** What it declared, parsed and untrusted; null before it has declared anything. */
  readonly capabilities: Readonly<Record<string, unknown>> | null;
  readonly instructions: string | null;
  /**
   * Items that cannot be offered as defined, each with a reason. A null name stands for the unknown rest of the list.
   */
  readonly missing?: readonly { readonly list: ListName; readonly name: string | null; readonly reason: string }[];
};

/** The listing of a server about which nothing is known. */
export const emptyListing = {
  tools: [],
  prompts: [],
  resources: [],
  resourceTemplates: [],
  stale: false,
  reason: null,
  capabilities: null,
  instructions: null,
} as const satisfies Omit<Listing, "server">;

/** A request to a server, derived from a caller's request. */
export type UpstreamRequest = {
  readonly method: string;
  /** Members of `params` to replace (raw JSON) or omit (null). The rest is sent as the caller wrote it. */
  readonly edits: Readonly<Record<string, string | null>>;
};

/** A notification that a server sent outside of any exchange. */
export type Notice = {
  readonly server: string;
  readonly method: string;
  /** Raw JSON. */
  readonly params: string;
  /** The principal whose instance sent it; null if all callers share the instance. */
  readonly owner: string | null;
  /** The legacy session that the instance serves exclusively; null if there is none. */
  readonly session: string | null;
};

/** A server's request outside of any call, to the one session that its instance serves. */
export type SessionQuestion = {
  readonly server: string;
  /** Principal id. */
  readonly owner: string;
  readonly session: string;
  readonly request: InputRequest;
};
