import type { Era, Revision } from "../core/inbound.ts";
import type { Logger } from "../core/log.ts";
import type { ScanLimits } from "../mcp/scan.ts";
import type { UpstreamMessage } from "../mcp/upstream-message.ts";

/** What a server answers a request with. */
export type Answer = Extract<UpstreamMessage, { kind: "result" | "error" }>;

/** What the handshake agreed on. */
export type Peer = { readonly era: Era; readonly revision: Revision };

/** One request to a server. */
export type Ask = {
  readonly method: string;
  /** Raw JSON for the id that the link chose, which doubles as progress token; null for none. */
  readonly params: (id: number) => string | null;
  readonly peer: Peer;
  /** Milliseconds. */
  readonly timeout: number;
  /** Ends the request from outside; a time-out ends it by this too. */
  readonly controller: AbortController;
  /** Called with the `params` of each progress notification. */
  readonly progress: ((params: Record<string, unknown>) => void) | null;
  /** HTTP headers that mirror the parameters; only modern HTTP servers get them. */
  readonly headers: Readonly<Record<string, string>> | null;
};

/** Why a link is no more; `asked` when its owner closed it. */
export type End = { readonly asked: boolean; readonly reason: string };

/**
 * A way to one server: a child process, or an HTTP endpoint with at most one session. Ids are the link's own, so
 * whatever arrives on it can only settle what was asked on it.
 */
export type Link = {
  /** Pid of the child process, null where there is none. */
  readonly pid: number | null;
  /** Requests without an answer. */
  readonly waiting: number;
  readonly ended: Promise<End>;
  /** Throws `timeout`, `cancelled`, `lost`, `upstream-down`, `upstream-overloaded`, `upstream-protocol`, `result-too-large`. */
  ask(ask: Ask): Promise<Answer>;
  /** Sends a notification; best effort. */
  tell(method: string, params: string | null, peer: Peer): Promise<void>;
  /** Ends it as broken. */
  fail(reason: string): void;
  /** Ends it in order; resolves once nothing of it is left. */
  close(): Promise<void>;
};

/** What a link needs of its owner. */
export type LinkHost = {
  readonly server: string;
  readonly limits: ScanLimits & { readonly result: number };
  readonly client: { readonly name: string; readonly version: string };
  readonly log: Logger;
  /** Counts a message that belongs to nothing. */
  dropped(reason: string): void;
  /** A notification that is not about a request. */
  notified(method: string): void;
};
