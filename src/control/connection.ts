import { asFailure, type Failure } from "../core/failure.ts";
import { isObject } from "../core/json.ts";
import type { Logger } from "../core/log.ts";
import { LineReader } from "../mcp/lines.ts";
import type { Context, Handlers, Hello, ServedTunnel } from "./contract.ts";
import { areEvents, dispatch } from "./dispatch.ts";
import { answer, event, lastWord, maxAnswer, maxLine, parseRequest, refusal, type Request } from "./messages.ts";
import type { SocketWriter } from "./socket-writer.ts";
import type { ControlPeer } from "./peer.ts";
import { Refusal } from "./refusal.ts";

/** Maximum number of concurrent requests on one connection. */
const maxRunning = 64;

/** Maximum time for a peer to read its last message, in ms. */
const patience = 1_000;
/** The same for a tunnel, whose client may read slowly: the closing line comes after all queued answers. */
const tunnelPatience = 60_000;
/** The same for a client that has lost its rights, which gets the reason but must be gone within a second. */
const cutOffPatience = 400;

export type ConnectionOptions = {
  readonly peer: ControlPeer;
  readonly handlers: Handlers;
  readonly version: string;
  readonly log: Logger;
  /** Returns the maximum length of a tunnelled MCP message, in bytes; called for each message. */
  readonly tunnelLine: () => number;
};

/** One connection to the control socket, which carries requests and streams or, after `attach`, tunnelled MCP. */
export class ControlConnection {
  readonly #options: ConnectionOptions;
  readonly #outbox: SocketWriter;
  readonly #end: (patience: number) => void;
  readonly #running = new Map<number | string, AbortController>();
  #onLine: ((line: string) => void) | null = null;
  #onClose: ((why: null) => void) | null = null;
  readonly #reader: LineReader;
  #key: string | null = null;
  #closed = false;
  /** Whether an `attach` is in progress. */
  #attaching = false;
  /** Whether the peer has sent anything valid. */
  active = false;
  tunnelled = false;

  /** `end` closes the socket once everything is sent, or after `patience` ms. */
  constructor(options: ConnectionOptions, outbox: SocketWriter, end: (patience: number) => void) {
    this.#options = options;
    this.#outbox = outbox;
    this.#end = end;
    this.#reader = new LineReader({
      max: () => (this.tunnelled ? options.tunnelLine() : maxLine),
      onLine: (line) => (this.tunnelled ? this.#onLine?.(line) : this.#control(line)),
      onOverflow: (head) => {
        // The server of the tunnel refuses the line with the id of its message.
        if (this.tunnelled) this.#onLine?.(head);
        else this.#fail(new Refusal("invalid-request", `a line is longer than ${maxLine} bytes`));
      },
    });
  }

  push(chunk: Uint8Array): void {
    this.#reader.push(chunk);
  }

  /** Handles the end of the socket: aborts everything that runs for it. */
  closed(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#outbox.close();
    for (const controller of this.#running.values()) controller.abort();
    this.#onClose?.(null);
  }

  #fail(error: Refusal): void {
    this.#outbox.send(refusal(null, error));
    this.#end(patience);
  }

  #control(line: string): void {
    if (this.#closed) return;
    try {
      const message = parseRequest(line);
      this.active = true;
      if (message.id !== null) return this.#request(message);
      if (message.method === "cancel") this.#cancel(message.params);
    } catch (error) {
      this.#refuse(null, error);
    }
  }

  #request(request: Request): void {
    if (this.#attaching) return this.#refuse(request.id, attachNeedsOwnConnection());
    if (request.method === "hello") return this.#hello(request);
    if (this.#running.size >= maxRunning || this.#running.has(request.id)) {
      const why = this.#running.has(request.id)
        ? "this id is already in use"
        : `more than ${maxRunning} concurrent requests`;
      return this.#refuse(request.id, new Refusal("busy", why));
    }
    const controller = new AbortController();
    this.#running.set(request.id, controller);
    const ctx = { peer: this.#options.peer, key: this.#key, signal: controller.signal };
    const work = request.method === "attach" ? this.#attach(request.id, ctx) : this.#run(request, ctx);
    void work
      // The client does not wait for the outcome of a cancelled request.
      .catch((error) => void (controller.signal.aborted || this.#refuse(request.id, error)))
      .finally(() => this.#running.delete(request.id));
  }

  #hello({ id, params }: Request): void {
    const key = isObject(params) ? params["key"] : null;
    this.#key = typeof key === "string" ? key : null;
    const { version, peer } = this.#options;
    this.#outbox.send(answer(id, { version, pid: process.pid, access: peer.access } satisfies Hello));
  }

  #cancel(params: unknown): void {
    const id = isObject(params) ? params["id"] : null;
    if (typeof id === "number" || typeof id === "string") this.#running.get(id)?.abort();
  }

  async #run({ id, method, params }: Request, ctx: Context): Promise<void> {
    const outcome = await dispatch(this.#options.handlers, method, params, ctx);
    if (!areEvents(outcome)) return this.#answer(id, outcome);
    for await (const value of outcome) {
      // A slow reader delays the source, which either loses nothing or bounds its queue and counts the rest. Sending
      // may fail after the wait, since other streams of the connection may have taken the room.
      do {
        await this.#outbox.drained();
        if (ctx.signal.aborted) return;
      } while (!this.#outbox.send(event(id, value)));
    }
    this.#answer(id, {});
  }

  #answer(id: number | string, result: unknown): void {
    const text = answer(id, result);
    if (text.length > maxAnswer) throw new Refusal("unavailable", "the answer is too long; narrow the request");
    if (!this.#closed && !this.#outbox.send(text)) this.#end(patience);
  }

  async #attach(id: number | string, ctx: Context): Promise<void> {
    const outbox = this.#outbox;
    // Queued bytes count for the user here but for the principal in a tunnel, so none may be queued before it.
    if (this.#running.size > 1 || outbox.queued > 0) throw attachNeedsOwnConnection();
    const tunnel: ServedTunnel = {
      get queued() {
        return outbox.queued;
      },
      send: (line) => outbox.send(line),
      onLine: (listener) => void (this.#onLine = listener),
      onClose: (listener) => void (this.#onClose = listener),
      close: (why) => this.#closeTunnel(why, tunnelPatience),
      cutOff: (why) => {
        outbox.drop();
        this.#closeTunnel(why, cutOffPatience);
      },
    };
    this.#attaching = true;
    try {
      await this.#options.handlers.attach(ctx, tunnel);
      this.tunnelled = true;
    } finally {
      this.#attaching = false;
    }
    outbox.unbound();
    this.#answer(id, {});
  }

  /** Stops listening to the client, which may still read. */
  #closeTunnel(why: string | undefined, patience: number): void {
    if (why !== undefined) this.#outbox.send(lastWord(why));
    this.#onLine = null;
    this.#end(patience);
  }

  #refuse(id: number | string | null, error: unknown): void {
    if (error instanceof Refusal) return void this.#outbox.send(refusal(id, error));
    const failure = asFailure(error);
    this.#options.log.error("control operation failed", { why: failure.detail.internal ?? failure.message });
    this.#outbox.send(refusal(id, new Refusal("internal", toldOf(failure))));
  }
}

const attachNeedsOwnConnection = (): Refusal => new Refusal("conflict", "attach requires a connection of its own");

/** Returns the message of a failure for operators, with the cause if the audit log takes no records. */
function toldOf({ code, message, detail: { internal } }: Failure): string {
  if (code === "internal") return "internal error in the daemon; see its log";
  return code === "audit-unavailable" && internal !== undefined ? `${message} (${internal})` : message;
}
