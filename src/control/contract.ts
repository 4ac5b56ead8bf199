import type { Acts, ActType } from "../core/event.ts";
import type { Answer, CallName, Input, Name, Operations, Parsed, StreamName } from "./api.ts";
import type { Access, ControlPeer } from "./peer.ts";

// The contract between client, server and daemon for the operations in api.ts.

/** The greeting of the daemon, which describes itself. */
export type Hello = { readonly version: string; readonly pid: number; readonly access: Access };

/** The caller as the kernel reports it, and the lifetime of its request. */
export type Context = {
  readonly peer: ControlPeer;
  /** The API key that the client acts as; null if it acts as the peer itself. Secret. */
  readonly key: string | null;
  /** Aborts when the client cancels or goes away. */
  readonly signal: AbortSignal;
};

/** An MCP connection that a client tunnels through the control socket; lines have no newline. */
export type Tunnel = {
  /** Queues a line; returns false once the tunnel is closed. */
  send(line: string): boolean;
  /** Sets the only listener, as does `onClose`. No line may be sent before `attach` has resolved. */
  onLine(listener: (line: string) => void): void;
  /** Sets the listener for the end of the tunnel; `why` is the reason that the other end gave, or null. */
  onClose(listener: (why: string | null) => void): void;
  close(why?: string): void;
};

export type ServedTunnel = Tunnel & {
  /** Bytes that the client has not read yet; the server of the tunnel must bound them. */
  readonly queued: number;
  /** Closes within half a second. The client gets at most one line of the queue, and the reason. */
  cutOff(why: string): void;
};

/** An act after all checks that can refuse it; it is recorded with `facts` and then run. */
export type Plan<A extends ActType, R> = { readonly facts: Acts[A]; readonly run: () => R };

/** The number of events that a stream skipped because its reader was too slow. */
export type Gap = { readonly gap: number };

type Soon<T> = Promise<T> | T;
type Answered<N extends Name> = N extends CallName ? Soon<Answer<N>> : AsyncIterable<Answer<N> | Gap>;
type Work<N extends Name> = Operations[N] extends { recorded: { before: infer A extends ActType } }
  ? Soon<Plan<A, Answered<N>>>
  : Answered<N>;

/** The daemon's handler of each operation. The client sees the message of a thrown `Refusal`, but of no other error. */
export type Handlers = {
  readonly [N in Name]: (input: Parsed<N>, ctx: Context) => Work<N>;
} & {
  /** Records an administrative act together with the peer that requested it. */
  readonly recordAct: <T extends ActType>(ctx: Context, type: T, facts: Acts[T]) => Promise<void>;
  /** Serves MCP to the peer; throws a `Refusal` if neither its key nor its uid allows it. */
  readonly attach: (ctx: Context, tunnel: ServedTunnel) => Promise<void> | void;
};

/** The interface of all clients: over the socket or, without a daemon, on the state directory. */
export type Client = {
  readonly online: boolean;
  call<N extends CallName>(name: N, input: Input<N>): Promise<Answer<N>>;
  /** Opens a stream; aborting `signal` or leaving the loop cancels it. A `Gap` has the number of skipped events. */
  stream<N extends StreamName>(name: N, input: Input<N>, signal?: AbortSignal): AsyncIterable<Answer<N> | Gap>;
  close(): void;
};
