import { systemDaemonHint } from "../config/paths.ts";
import { codeOf, messageOf } from "../core/error-text.ts";
import { within } from "../core/wait.ts";
import { LineReader } from "../mcp/lines.ts";
import type { CallName, Input, Answer, StreamName } from "./api.ts";
import type { Client, Gap, Hello, Tunnel } from "./contract.ts";
import { cancel, maxAnswer, readLastWord, request, type FromServer } from "./messages.ts";
import { hasListener, whySocketUntrusted } from "./socket-path.ts";
import { SocketWriter } from "./socket-writer.ts";
import { Refusal, Unanswered, Unreachable } from "./refusal.ts";

export type ConnectOptions = {
  readonly version: string;
  /** The API key to act as. Secret. */
  readonly key?: string | null;
  /** Maximum time for the daemon to greet, in ms. Later requests have no time limit. */
  readonly patience?: number | undefined;
};

/** The message for a user without a key about whose rights apply. */
export const keylessText =
  "without MCPGW_API_KEY the caller is the local administrator, with the rights that policies give the role admin";

/** Returns the key in MCPGW_API_KEY, or null. It is trimmed, since a file it was read from may end with a newline. */
export const givenKey = (): string | null => process.env["MCPGW_API_KEY"]?.trim() ?? null;

type Waiting = { onMessage(message: FromServer): void; onClose(error: Error): void };

/** Maximum number of events that may wait for a stream's consumer before reading from the socket pauses. */
const maxWaiting = 1_000;

function unreachable(path: string, error: unknown): Error {
  const code = codeOf(error) ?? "";
  if (code === "EACCES" || code === "EPERM")
    return new Refusal("denied", `permission denied for ${path}; join the group that owns it, or use sudo`);
  if (code === "ECONNREFUSED" && hasListener(path))
    return new Refusal(
      "busy",
      `the daemon at ${path} accepts no more connections right now; try again in a few seconds`,
    );
  if (code === "ENOENT" || code === "ECONNREFUSED" || code === "FailedToOpenSocket") return nobody(path);
  return new Unreachable(`${path}: ${messageOf(error)}`);
}

function nobody(path: string): Unreachable {
  const system = systemDaemonHint(path);
  const start = "start one with `mcpgw daemon`, or name its socket with --socket";
  const instead = system === null ? start : `${start}; the system's daemon is ${system}`;
  return new Unreachable(`no daemon answers at ${path}; ${instead}`);
}

/** One connection, which carries requests by id or, after `attach`, a tunnel. */
class Wire {
  readonly #waiting = new Map<number, Waiting>();
  #socket: Bun.Socket | null = null;
  #outbox: SocketWriter | null = null;
  /** Receives the lines of the tunnel; null before the connection is one. */
  #onLine: ((line: string) => void) | null = null;
  /** Lines that arrived before there was a listener. */
  readonly #early: string[] = [];
  #onClose: ((why: string | null) => void) | null = null;
  /** The reason that the daemon gave for closing the tunnel. */
  #why: string | null = null;
  #next = 1;
  #lost: Error | null = null;

  async open(path: string): Promise<void> {
    const reader = new LineReader({
      // In a tunnel, the daemon's own limits apply.
      max: () => (this.#onLine ? Infinity : maxAnswer),
      onLine: (line) => (this.#onLine ? this.#tunnelled(line, this.#onLine) : this.#message(line)),
      onOverflow: () => this.#end(new Refusal("internal", "the daemon's answer is too long")),
    });
    const lost = () => this.#end(new Unreachable("the daemon closed the connection"));
    try {
      this.#socket = await Bun.connect({
        unix: path,
        socket: {
          open: (socket) => void (this.#outbox = new SocketWriter(socket, maxAnswer)),
          data: (_socket, chunk) => reader.push(chunk),
          drain: () => this.#outbox?.flush(),
          close: lost,
          error: lost,
        },
      });
    } catch (error) {
      throw unreachable(path, error);
    }
    // The wait ended before the connection was open.
    if (this.#lost) this.#socket.end();
  }

  /** Sends a request. All messages about it go to `waiting` until `done` is called. */
  request(method: string, params: unknown, waiting: Waiting): { readonly id: number; done(): void } {
    if (this.#lost) throw this.#lost;
    const id = this.#next++;
    this.#waiting.set(id, waiting);
    this.#outbox?.send(request(id, method, params));
    return { id, done: () => void this.#waiting.delete(id) };
  }

  /** Sends a request and resolves to its result; `answered` is called before any message after the answer is read. */
  call(method: string, params: unknown, answered?: () => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const sent = this.request(method, params, {
        onMessage({ error, result }) {
          sent.done();
          if (error) return reject(Refusal.fromRpc(error.code, error.message));
          answered?.();
          resolve(result);
        },
        onClose: reject,
      });
    });
  }

  /** Requests a tunnel; resolves once the daemon has agreed. */
  async attach(): Promise<void> {
    await this.call("attach", {}, () => {
      this.#onLine = (line) => void this.#early.push(line);
      this.#outbox?.unbound();
    });
  }

  send(line: string): boolean {
    return this.#outbox?.send(line) ?? false;
  }

  drained(): Promise<void> {
    return this.#outbox?.drained() ?? Promise.resolve();
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  onLine(listener: (line: string) => void): void {
    this.#onLine = listener;
    for (const line of this.#early.splice(0)) listener(line);
  }

  onClose(listener: (why: string | null) => void): void {
    this.#onClose = listener;
  }

  close(): void {
    this.#end(new Unreachable("the connection was closed"));
  }

  #tunnelled(line: string, listener: (line: string) => void): void {
    this.#why ??= readLastWord(line);
    if (this.#why === null) listener(line);
  }

  #message(line: string): void {
    const message = JSON.parse(line) as FromServer; // sent by the daemon; a different version causes a warning
    const id = message.id ?? message.params?.id;
    if (typeof id === "number") return this.#waiting.get(id)?.onMessage(message);
    // An error without a request id refuses the connection.
    if (message.error) this.#end(Refusal.fromRpc(message.error.code, message.error.message));
  }

  #end(error: Error): void {
    if (this.#lost) return;
    this.#lost = error;
    for (const waiting of this.#waiting.values()) waiting.onClose(error);
    this.#waiting.clear();
    this.#outbox?.close();
    this.#socket?.end();
    this.#onClose?.(this.#why);
  }
}

async function* streamOf(wire: Wire, name: string, input: unknown, signal?: AbortSignal): AsyncGenerator<unknown> {
  const queue: unknown[] = [];
  let wake = Promise.withResolvers<void>();
  let end: Error | true | null = null;
  const ring = (state: Error | true | null) => {
    end ??= state;
    wake.resolve();
  };
  const sent = wire.request(name, input, {
    onMessage({ params, error }) {
      if (error) return ring(Refusal.fromRpc(error.code, error.message));
      if (!params) return ring(true);
      queue.push(params.gap === undefined ? params.event : { gap: params.gap });
      if (queue.length === maxWaiting) wire.pause();
      ring(null);
    },
    onClose: ring,
  });
  const abort = () => ring(true);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    for (;;) {
      for (const value of queue.splice(0)) yield value;
      wire.resume();
      if (queue.length > 0) continue;
      if (end === true) return;
      if (end) throw end as Error; // assigned in a callback, which narrowing does not see
      await wake.promise;
      wake = Promise.withResolvers();
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    sent.done();
    wire.resume();
    wire.send(cancel(sent.id));
  }
}

/** Returns an error handler that closes the connection, since an open socket would keep the process alive. */
const closing = (wire: Wire) => (error: unknown) => {
  wire.close();
  throw error;
};

const patienceMs = 10_000;

async function open(path: string, options: ConnectOptions): Promise<{ wire: Wire; hello: Hello }> {
  const { version, key = null, patience = patienceMs } = options;
  const wire = new Wire();
  const doubt = key === null ? null : whySocketUntrusted(path);
  if (doubt !== null)
    throw new Refusal("denied", `control socket ${path}: ${doubt}; name another socket with --socket`);
  const greet = async () => {
    await wire.open(path);
    return (await wire.call("hello", { version, key })) as Hello; // as above
  };
  const silent = () => {
    throw new Unanswered(`the daemon at ${path} does not answer`);
  };
  const hello = await within(greet(), patience, null, silent).catch(closing(wire));
  return { wire, hello };
}

/**
 * Connects to a daemon. Throws `Unreachable` if there is none, `Unanswered` if it does not answer, and a `Refusal` if
 * it refuses the client. The caller should warn if the version in `hello` differs from its own.
 */
export async function connect(path: string, options: ConnectOptions): Promise<Client & { readonly hello: Hello }> {
  const { wire, hello } = await open(path, options);
  return {
    online: true,
    hello,
    // The server checks inputs against the table that these types come from, and its handlers are typed by it.
    call: <N extends CallName>(name: N, input: Input<N>) => wire.call(name, input) as Promise<Answer<N>>,
    stream: <N extends StreamName>(name: N, input: Input<N>, signal?: AbortSignal) =>
      streamOf(wire, name, input, signal) as AsyncIterable<Answer<N> | Gap>,
    close: () => wire.close(),
  };
}

/** A tunnel that can be paused, so that its lines wait at the daemon. `drained` resolves once everything is written. */
export type ClientTunnel = Tunnel & Pick<Wire, "pause" | "resume" | "drained">;

/** Opens an MCP tunnel. Throws as `connect` does, and a `Refusal` if the daemon refuses the tunnel. */
export async function attach(path: string, options: ConnectOptions): Promise<ClientTunnel> {
  const { wire } = await open(path, options);
  await wire.attach().catch(closing(wire));
  return wire;
}
