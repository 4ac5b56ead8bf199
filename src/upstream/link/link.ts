import type { AbortSignalLike } from "../../core/cancel.ts";
import type { ClientAnswer, Era, InputRequest, Revision } from "../../core/inbound.ts";
import type { Logger } from "../../core/log.ts";
import type { ScanLimits } from "../../mcp/scan.ts";
import type { UpstreamMessage } from "../../mcp/upstream-message.ts";

/** What a server answers a request with. */
export type Answer = Extract<UpstreamMessage, { kind: "result" | "error" }>;

/** What the handshake agreed on. */
export type Peer = { readonly era: Era; readonly revision: Revision };

/** What a server said of itself. */
export type Greeting = {
  readonly peer: Peer;
  /** What it declared, parsed; null when it was not asked. */
  readonly capabilities: Readonly<Record<string, unknown>> | null;
  readonly instructions: string | null;
};

/** Answers what a server asks; the signal ends it when the answer is not wanted any more. */
export type AskClient = (request: InputRequest, signal: AbortSignal) => Promise<ClientAnswer>;

/** Takes what a server says while it works on a call; `params` are raw JSON, null stands for an unwanted handler. */
export type Handlers = {
  readonly progress: ((params: string) => void) | null;
  /** A log message. */
  readonly message: ((params: string) => void) | null;
  /** That the matter a client was sent to by URL is settled (2025-11-25, elicitation). */
  readonly completed: ((params: string) => void) | null;
  readonly request: AskClient | null;
};

/** What a request is sent for. */
export type Purpose =
  /** A caller's call: what a server says or asks without naming a request can only be about one of these. */
  | { readonly kind: "call"; readonly handlers: Handlers }
  /** To be told of what the server says meanwhile. */
  | { readonly kind: "listen"; readonly notified: (method: string, params: string) => void }
  /** To learn something for the gateway itself. */
  | { readonly kind: "own" };

/** One request to a server. */
export type Ask = {
  readonly method: string;
  /** Raw JSON for the id that the link chose, which doubles as progress token; null for none. */
  readonly params: (id: number) => string | null;
  readonly peer: Peer;
  /** Milliseconds without a sign of life from the server; null: it may take for ever. */
  readonly timeout: number | null;
  /** What `timeout` is told as where it is what was left of a configured time, ms. */
  readonly told?: number;
  /** Milliseconds in all, what the client takes to answer the server not counted. */
  readonly most: number;
  /** Ends the request from outside. */
  readonly signal: AbortSignalLike;
  readonly purpose: Purpose;
  /** HTTP headers that mirror the parameters; only modern HTTP servers get them. */
  readonly headers: Readonly<Record<string, string>> | null;
};

/** Why a link is no more; `asked` when its owner closed it. */
export type End = { readonly asked: boolean; readonly reason: string };

/**
 * A way to one server: a child process, a connection, or an HTTP endpoint with at most one session. Ids are the link's
 * own, so whatever arrives on it can only settle what was asked on it.
 */
export type Link = {
  /** Pid of the child process, null where there is none. */
  readonly pid: number | null;
  /** Streams that stay open besides requests. */
  readonly streams: number;
  readonly ended: Promise<End>;
  /** Whether it has ended. */
  readonly over: boolean;
  /** Throws `timeout`, `cancelled`, `lost`, `upstream-down`, `overloaded`, `upstream-overloaded`, `upstream-protocol`, `result-too-large`. */
  ask(ask: Ask): Promise<Answer>;
  /** Sends a notification; best effort. */
  tell(method: string, params: string | null, peer: Peer): Promise<void>;
  /** Ends it as broken. */
  fail(reason: string): void;
  /** Ends it in order; resolves once nothing of it is left. */
  close(): Promise<void>;
};

/** What an instance's owner is told of it. */
export type LinkEvents = {
  /** A notification that is not about a request; false when nobody cared. */
  notified(method: string, params: string): boolean;
  /** A new session took the place of one that the server lost, with all that it held; how the server greeted it. */
  renewed(greeting: Greeting): void;
};

/** Caps on what servers say: of one message, of a result, in bytes, and of an array of messages. */
export type UpstreamLimits = ScanLimits & { readonly result: number; readonly batch: number };

/** What a link needs of its owner. */
export type LinkHost = LinkEvents & {
  readonly server: string;
  /** How long the server may take to answer what the gateway asks for itself, ms. */
  readonly timeout: number;
  readonly limits: UpstreamLimits;
  readonly client: { readonly name: string; readonly version: string };
  /** What a legacy handshake declares, raw JSON. */
  readonly declares: string;
  /**
   * Asks the client outside of any call, where all calls are of one session of it, so that whatever is asked is for that
   * client; null where they may be of several.
   */
  readonly asked: AskClient | null;
  readonly log: Logger;
  /** Counts a message that belongs to nothing. */
  dropped(reason: string): void;
};
