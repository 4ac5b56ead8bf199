import type { Acts, ActType } from "../core/event.ts";
import type { CallName, Input, Name, Operations, Output, Parsed, StreamName } from "./api.ts";
import type { Peer } from "./peer.ts";

// What client, server and daemon promise each other about the operations of api.ts.

/** Who asks, as the kernel reports the peer, and for how long the answer is wanted. */
export type Context = {
  readonly peer: Peer;
  /** The API key that the client speaks for, null for the peer itself. Secret. */
  readonly key: string | null;
  /** Aborts when the client cancels or goes away. */
  readonly signal: AbortSignal;
};

/** An MCP connection that a client tunnels through the control socket, one message per line without its newline. */
export type Tunnel = {
  /** Queues a line; false once the client reads so slowly that the tunnel was closed. */
  send(line: string): boolean;
  /** One listener; before the first line may be sent, `attach` has to resolve. */
  onLine(listener: (line: string) => void): void;
  /** The listener is told why, where the other end said so. */
  onClose(listener: (why: string | null) => void): void;
  close(why?: string): void;
};

/** Records an administrative act with who did it, as the kernel knows the peer. */
export type RecordAct = <T extends ActType>(ctx: Context, type: T, facts: Acts[T]) => Promise<void>;

/** What is about to be done: it is refused by now if it cannot be, recorded with these facts, and then done. */
export type Plan<A extends ActType, R> = { readonly facts: Acts[A]; readonly run: () => R };

type Soon<T> = Promise<T> | T;
type Answer<N extends Name> = N extends CallName ? Soon<Output<N>> : AsyncIterable<Output<N>>;
type Work<N extends Name> = Operations[N] extends { recorded: "before"; act: infer A extends ActType }
  ? Soon<Plan<A, Answer<N>>>
  : Answer<N>;

/** What the daemon does for each operation. A `Refusal` thrown here reaches the client as it is, anything else does not. */
export type Handlers = {
  readonly [N in Name]: (input: Parsed<N>, ctx: Context) => Work<N>;
} & {
  readonly recordAct: RecordAct;
  /** Serves MCP to the peer; throws a `Refusal` when neither key nor peer allows it. */
  readonly attach: (ctx: Context, tunnel: Tunnel) => Promise<void> | void;
};

/** Events that a slow reader of a live stream missed. */
export type Gap = { readonly gap: number };

/** The one client interface, over the socket or, without a daemon, over the state directory itself. */
export type Client = {
  /** Whether a daemon answers. */
  readonly online: boolean;
  call<N extends CallName>(name: N, input: Input<N>): Promise<Output<N>>;
  /** Ends with the stream; `signal` or leaving the loop cancels it. A number is how many events were missed. */
  stream<N extends StreamName>(name: N, input: Input<N>, signal?: AbortSignal): AsyncIterable<Output<N> | Gap>;
  close(): void;
};
