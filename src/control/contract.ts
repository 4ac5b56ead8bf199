import type { Acts, ActType } from "../core/event.ts";
import type { Answer, CallName, Input, Name, Operations, Parsed, StreamName } from "./api.ts";
import type { Access, ControlPeer } from "./peer.ts";

// What client, server and daemon owe each other for the operations of api.ts.

/** The daemon's description of itself, with which it greets a client. */
export type Hello = { readonly version: string; readonly pid: number; readonly access: Access };

/** The caller, as the kernel reports it, and how long it waits for the answer. */
export type Context = {
  readonly peer: ControlPeer;
  /** The API key that the client acts for; null if it acts as the peer itself. Secret. */
  readonly key: string | null;
  /** Aborts when the client cancels or goes away. */
  readonly signal: AbortSignal;
};

/** An MCP connection that a client tunnels through the control socket, one message per line without its newline. */
export type Tunnel = {
  /** Queues a line, false once the tunnel is closed. */
  send(line: string): boolean;
  /** There is one listener, of `onClose` too. No line may be sent before `attach` has resolved. */
  onLine(listener: (line: string) => void): void;
  /** The listener is told why, where the other end said so. */
  onClose(listener: (why: string | null) => void): void;
  close(why?: string): void;
};

/** The daemon's end of a tunnel. */
export type ServedTunnel = Tunnel & {
  /** Bytes that the client has not taken yet; nothing else bounds them. */
  readonly queued: number;
  /** Closes within half a second. Of what the client has not taken yet it gets one line at most, and why. */
  cutOff(why: string): void;
};

/** An act that is ready to be done. Whatever can refuse it has done so; it is recorded with these facts, then run. */
export type Plan<A extends ActType, R> = { readonly facts: Acts[A]; readonly run: () => R };

/** Events of a stream that its reader was too slow to get. */
export type Gap = { readonly gap: number };

type Soon<T> = Promise<T> | T;
type Answered<N extends Name> = N extends CallName ? Soon<Answer<N>> : AsyncIterable<Answer<N> | Gap>;
type Work<N extends Name> = Operations[N] extends { recorded: { before: infer A extends ActType } }
  ? Soon<Plan<A, Answered<N>>>
  : Answered<N>;

/** The daemon's part of each operation. A `Refusal` thrown here reaches the client as it is; no other error does. */
export type Handlers = {
  readonly [N in Name]: (input: Parsed<N>, ctx: Context) => Work<N>;
} & {
  /** Records an administrative act together with the peer that asked for it. */
  readonly recordAct: <T extends ActType>(ctx: Context, type: T, facts: Acts[T]) => Promise<void>;
  /** Serves MCP to the peer; throws a `Refusal` if neither key nor peer allows it. */
  readonly attach: (ctx: Context, tunnel: ServedTunnel) => Promise<void> | void;
};

/** The one interface of clients: over the socket or, without a daemon, over the state directory itself. */
export type Client = {
  readonly online: boolean;
  call<N extends CallName>(name: N, input: Input<N>): Promise<Answer<N>>;
  /** Ends with the stream; aborting `signal` or leaving the loop cancels it. A `Gap` says how many were missed. */
  stream<N extends StreamName>(name: N, input: Input<N>, signal?: AbortSignal): AsyncIterable<Answer<N> | Gap>;
  close(): void;
};
