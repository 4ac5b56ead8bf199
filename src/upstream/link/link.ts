import type { AbortSignalLike } from "../../core/cancel.ts";
import type { ClientAnswer, Era, InputRequest, Revision } from "../../core/inbound.ts";
import type { Failure } from "../../core/failure.ts";
import type { Logger } from "../../core/log.ts";
import type { Implementation } from "../../mcp/meta.ts";
import type { ScanLimits } from "../../mcp/scan.ts";
import type { UpstreamMessage } from "../../mcp/upstream-message.ts";

// Terms in this folder: the gateway sends a server requests, for a caller's call or for itself (a query), and
// notifications. An exchange is one request until its answer. A question is a server's request to the client, asked
// through a context that it can be about: the exchange of a call, or what happens outside of calls.

/** A server's answer. `begun`: it sent a message about the request before, so the request has begun to run. */
export type Answer = Extract<UpstreamMessage, { kind: "result" | "error" }> & { readonly begun?: true };

/** The era and revision that the handshake agreed on. */
export type Peer = { readonly era: Era; readonly revision: Revision };

/** A server with what it said about itself in the handshake. */
export type Greeting = Peer & {
  /** The capabilities that the server declared, parsed; null if it was not asked. */
  readonly capabilities: Readonly<Record<string, unknown>> | null;
  readonly instructions: string | null;
};

/** Asks the client a question of the server; the signal ends a question whose answer is no longer wanted. */
export type AskClient = (request: InputRequest, signal: AbortSignal) => Promise<ClientAnswer>;

/** Take the messages of a server that works on a call (`params`: raw JSON). Null: the caller wants none. */
export type Handlers = {
  readonly progress: ((params: string) => void) | null;
  /** Takes a log message; returns false if it is less severe than those that the caller wants. */
  readonly message: ((params: string) => boolean) | null;
  /** Takes any other notification about the call; returns false if it is not for this caller. */
  readonly other: ((method: string, params: string) => boolean) | null;
  readonly ask: AskClient | null;
  /** Whether the client can be asked anything at all; if not, `ask` only refuses. */
  readonly askable: boolean;
};

/** The purpose of a request. */
export type Purpose =
  /**
   * A caller's call. Messages of the server that name no request can only be about calls. `client`: which of the
   * caller's clients made the call; null if the server may be talking about another caller.
   */
  | { readonly kind: "call"; readonly handlers: Handlers; readonly client: string | null }
  /** To receive the notifications that the server sends in the meantime. */
  | { readonly kind: "listen"; readonly notified: (method: string, params: string) => void }
  /** To find out something for the gateway itself. */
  | { readonly kind: "own" };

/** One request to a server. */
export type LinkRequest = {
  readonly method: string;
  /** The parameters as raw JSON, null for none. The link chooses `id`, which is also the progress token. */
  readonly params: (id: number) => string | null;
  readonly peer: Peer;
  /** Maximum time without a sign of life from the server, ms; null for no limit. */
  readonly timeout: number | null;
  /** How much of that time has passed before the first sign of life, ms. */
  readonly waited?: number;
  /** Maximum total time, ms, excluding the time that the client takes to answer the server. */
  readonly most: number;
  /** Ends the request from outside. */
  readonly signal: AbortSignalLike;
  readonly purpose: Purpose;
  /** HTTP headers that mirror the parameters; sent only to modern HTTP servers. */
  readonly headers: Readonly<Record<string, string>> | null;
  /** Prepares the session again if a new one replaced the prepared one; null if nothing is to be done. */
  readonly prepare?: () => Promise<void> | null;
};

/** Why a link has ended. `expected`: its owner closed it. `fault`: the failure that ended it, if known. */
export type End = { readonly expected: boolean; readonly reason: string; readonly fault?: Failure };

/**
 * A connection to one server: a child process, a socket, or an HTTP endpoint with at most one session. Each link has
 * its own request ids, so a message that arrives on it can only answer a request that was sent on it.
 */
export type Link = {
  /** What the owner provides for the link. */
  readonly host: LinkHost;
  /** Pid of the child process; null if there is none. */
  readonly pid: number | null;
  /** Number of streams that stay open in addition to requests. */
  readonly streams: number;
  readonly ended: Promise<End>;
  /** How the link has ended; null if it has not. */
  readonly over: End | null;
  /** Resolves once the server can send messages outside of requests, or never will; absent if it always can. */
  listening?(): Promise<void>;
  /**
   * Rejects with `timeout`, `cancelled`, `lost`, `upstream-down`, `overloaded`, `upstream-overloaded`,
   * `upstream-protocol`, `result-too-large`.
   */
  request(request: LinkRequest): Promise<Answer>;
  /** Sends a notification (best effort). */
  notify(method: string, params: string | null, peer: Peer): Promise<void>;
  /** Ends the link as broken. */
  fail(reason: string): void;
  /** Closes the link in an orderly way; resolves once nothing of it is left. */
  close(): Promise<void>;
};

/** A link whose handshake is complete. */
export type Instance = { readonly link: Link; readonly peer: Greeting };

/** The events that the owner of a link receives. */
export type LinkEvents = {
  /** Takes a notification that is not about a request; returns false if nobody wanted it. */
  notified(method: string, params: string): boolean;
  /** Reports that the server lost the session and its state; a new session with this greeting replaced it. */
  renewed(greeting: Greeting): void;
};

/** Limits on the messages of servers: on each message, bytes of a result, messages in an array. */
export type UpstreamLimits = ScanLimits & { readonly result: number; readonly batch: number };

/** What a link needs from its owner; a reload may change what a function returns. */
export type LinkHost = LinkEvents & {
  readonly server: string;
  /** Maximum time for the server to answer one of the gateway's own requests, ms. */
  readonly timeout: () => number;
  readonly limits: () => UpstreamLimits;
  /** Limits on answers to the gateway's own requests, and on a whole array: lists may nest deeper than results. */
  readonly ownLimits: () => UpstreamLimits;
  readonly client: () => Implementation;
  /** Values that must not appear in anything that is said about the server. */
  readonly secrets: () => readonly string[];
  /** The capabilities that a legacy handshake declares, as raw JSON. */
  readonly declares: string;
  /**
   * Returns the current way to ask the client outside of calls, for a question of this method. Null unless all calls on
   * the link belong to one session, so that every question is for its client, or the link is being opened for one call.
   */
  readonly asker: (method: string) => AskClient | null;
  readonly log: Logger;
  /** Counts a message that belongs to no request. */
  dropped(reason: string): void;
};
