import type { Item, Tool } from "./call.ts";
import type { Era, InputRequest } from "./inbound.ts";
import type { ListName } from "./lists.ts";

// How the managed servers are described, what they offer, and what passes between them and the gateway.

/** How a server with a URL can be reached. */
export const urlTransports = ["http", "sse", "websocket"] as const;

/** How a server can be reached. */
export const transports = ["stdio", ...urlTransports, "builtin"] as const;

/** The tool servers inside the executable. */
export const builtinNames = ["calculator"] as const;
export type BuiltinName = (typeof builtinNames)[number];

export const serverStates = ["disabled", "idle", "starting", "ready", "backoff", "open-circuit", "stopping"] as const;
export type ServerState = (typeof serverStates)[number];

/** An instance that served callers, ended unexpectedly and does not run again yet. */
export type Down = {
  /** The principal that it serves; null if it serves all callers. */
  readonly owner: string | null;
  readonly reason: string;
  /** From this time on (epoch ms) a call may start it again. */
  readonly until: number;
  /** True if it ended so often that its circuit is open. */
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
  /** Those that callers use. */
  readonly instances: number;
  readonly pids: readonly number[];
  /** The process of the instance by which the gateway itself lists the server and checks its health. */
  readonly ownPid: number | null;
  readonly tools: number;
  readonly restarts: number;
  readonly inFlight: number;
  /**
   * Why it is not ready, or which instances of a ready one are down, or which of its lists are not known in full; null
   * when all is well.
   */
  readonly reason: string | null;
  readonly down: readonly Down[];
  /** Epoch ms of the last successful listing; null before the first. */
  readonly listedAt: number | null;
  readonly sandbox: "none";
  /** Messages that fit no exchange: late, foreign or unsolicited ones. */
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

/** What a server offers now (or offered last, when `stale`). */
export type Listing = Offers & {
  readonly server: string;
  readonly stale: boolean;
  /** Why it is not available now; null when it is. */
  readonly reason: string | null;
  /** What it declared, parsed and untrusted; null while it has not said what it has. */
  readonly capabilities: Readonly<Record<string, unknown>> | null;
  readonly instructions: string | null;
  /**
   * Things that cannot be offered as the server defined them, each with a reason. A null name stands for the rest of
   * the list, which is not known.
   */
  readonly missing?: readonly { readonly list: ListName; readonly name: string | null; readonly reason: string }[];
};

/** The listing of a server of which nothing is known. */
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

/** A request to a server, made out of a caller's. */
export type UpstreamRequest = {
  readonly method: string;
  /** Members of `params` to replace: raw JSON, or null to leave one out. The rest is sent as the caller wrote it. */
  readonly edits: Readonly<Record<string, string | null>>;
};

/** Something a server said outside of any exchange. */
export type Notice = {
  readonly server: string;
  readonly method: string;
  /** Raw JSON. */
  readonly params: string;
  /** The principal whose instance said it; null if all callers share the instance. */
  readonly owner: string | null;
  /** The legacy session that the instance serves alone; null if there is none. */
  readonly session: string | null;
};

/** A request of a server outside of any call, to the one session whose instance it is. */
export type SessionQuestion = {
  readonly server: string;
  /** Principal id. */
  readonly owner: string;
  /** Id of the legacy session. */
  readonly session: string;
  readonly request: InputRequest;
};
