import type { AbortSignalLike } from "../../core/cancel.ts";
import type { ClientAnswer, Era, InputRequest, Revision } from "../../core/inbound.ts";
import type { Failure } from "../../core/failure.ts";
import type { Logger } from "../../core/log.ts";
import type { Implementation } from "../../mcp/meta.ts";
import type { ScanLimits } from "../../mcp/scan.ts";
import type { UpstreamMessage } from "../../mcp/upstream-message.ts";

// The words of this folder. The gateway sends a server requests, for a caller's call or for itself (a query), and tells
// it notifications. An exchange is one request until its answer, with all that the server says about it meanwhile. A
// question is a request of the server that is for the client: the client is asked it by way of a context that it can be
// about, which is the exchange of a call or what goes on outside of calls.

/**
 * A server's answer to a request; `begun`: the server said something about the request before, which so has begun to
 * run.
 */
export type Answer = Extract<UpstreamMessage, { kind: "result" | "error" }> & { readonly begun?: true };

/** The era and the revision that the handshake agreed on. */
export type Peer = { readonly era: Era; readonly revision: Revision };

/** A server with what it said about itself in the handshake. */
export type Greeting = Peer & {
  /** The capabilities that the server declared, parsed; null when it was not asked. */
  readonly capabilities: Readonly<Record<string, unknown>> | null;
  readonly instructions: string | null;
};

/** Asks the client a question of the server; the signal ends the question when its answer is not wanted any more. */
export type AskClient = (request: InputRequest, signal: AbortSignal) => Promise<ClientAnswer>;

/**
 * Takes the messages of a server that works on a call; `params` are raw JSON. Null: the caller wants no such messages.
 */
export type Handlers = {
  readonly progress: ((params: string) => void) | null;
  /** A log message; returns false if it is less severe than those that the caller wants. */
  readonly message: ((params: string) => boolean) | null;
  /** Any other notification about the call; returns false if it is not for this caller. */
  readonly other: ((method: string, params: string) => boolean) | null;
  readonly ask: AskClient | null;
  /** Whether the client can be asked anything at all; what `ask` is given else, it only refuses. */
  readonly askable: boolean;
};

/** What a request is sent for. */
export type Purpose =
  /**
   * A caller's call. A message of the server that names no request can only be about one of these. `client`: which of
   * its caller's clients made the call; null where the server may speak of another caller.
   */
  | { readonly kind: "call"; readonly handlers: Handlers; readonly client: string | null }
  /** To receive the notifications that the server sends meanwhile. */
  | { readonly kind: "listen"; readonly notified: (method: string, params: string) => void }
  /** To learn something for the gateway itself. */
  | { readonly kind: "own" };

/** One request to a server. */
export type LinkRequest = {
  readonly method: string;
  /** The parameters as raw JSON, null for none. `id` is chosen by the link, and is the progress token too. */
  readonly params: (id: number) => string | null;
  readonly peer: Peer;
  /** Most milliseconds without a sign of life from the server; null: the request may take for ever. */
  readonly timeout: number | null;
  /** How much of that has already passed before the first sign of life, ms. */
  readonly waited?: number;
  /** Most milliseconds in all, without the time that the client takes to answer the server. */
  readonly most: number;
  /** Ends the request from outside. */
  readonly signal: AbortSignalLike;
  readonly purpose: Purpose;
  /** HTTP headers that mirror the parameters; only modern HTTP servers get them. */
  readonly headers: Readonly<Record<string, string>> | null;
  /** Prepares a session for the request that took the place of the one that was prepared; null: nothing has to be. */
  readonly prepare?: () => Promise<void> | null;
};

/** Why a link has ended; `expected`: its owner closed it. `fault`: the failure that ended it, where it is known. */
export type End = { readonly expected: boolean; readonly reason: string; readonly fault?: Failure };

/**
 * A connection to one server: a child process, a socket, or an HTTP endpoint with at most one session. Each link has
 * request ids of its own, so a message that arrives on it can only answer a request that was sent on it.
 */
export type Link = {
  /** What its owner says of the server. */
  readonly host: LinkHost;
  /** Pid of the child process, null where there is none. */
  readonly pid: number | null;
  /** The number of streams that stay open besides requests. */
  readonly streams: number;
  readonly ended: Promise<End>;
  /** How the link has ended; null while it has not. */
  readonly over: End | null;
  /** Resolves once the server can say something outside of requests, or never will; absent where it always can. */
  listening?(): Promise<void>;
  /**
   * Rejects with `timeout`, `cancelled`, `lost`, `upstream-down`, `overloaded`, `upstream-overloaded`,
   * `upstream-protocol`, `result-too-large`.
   */
  request(request: LinkRequest): Promise<Answer>;
  /** Sends a notification; best effort. */
  notify(method: string, params: string | null, peer: Peer): Promise<void>;
  /** Ends the link as broken. */
  fail(reason: string): void;
  /** Ends the link in order; resolves once nothing of it is left. */
  close(): Promise<void>;
};

/** A link whose handshake is done. */
export type Instance = { readonly link: Link; readonly peer: Greeting };

/** What the owner of a link is told. */
export type LinkEvents = {
  /** A notification that is not about a request; false when nobody wanted it. */
  notified(method: string, params: string): boolean;
  /** The server lost the session with all that belonged to it; a new session took its place, with this greeting. */
  renewed(greeting: Greeting): void;
};

/** Caps on the messages of servers: each one, bytes of a result, messages in an array. */
export type UpstreamLimits = ScanLimits & { readonly result: number; readonly batch: number };

/** What a link needs from its owner; a reload may change what a function returns. */
export type LinkHost = LinkEvents & {
  readonly server: string;
  /** How long the server may take to answer a request that the gateway sends for itself, ms. */
  readonly timeout: () => number;
  readonly limits: () => UpstreamLimits;
  /**
   * Those of answers to the gateway's own requests, and of an array as a whole: a list may nest deeper than a result
   * for a caller.
   */
  readonly ownLimits: () => UpstreamLimits;
  readonly client: () => Implementation;
  /** Values that nothing which is said of the server may show. */
  readonly secrets: () => readonly string[];
  /** The capabilities that a legacy handshake declares, raw JSON. */
  readonly declares: string;
  /**
   * The present way to ask the client outside of any call, for a question of this method that has come. Null unless all
   * calls on the link are of one session, so that every question is for the client of that session, or the link is
   * being opened for one call.
   */
  readonly asker: (method: string) => AskClient | null;
  readonly log: Logger;
  /** Counts a message that belongs to no request. */
  dropped(reason: string): void;
};
