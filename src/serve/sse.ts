import { endingWith } from "../core/cancel.ts";
import type { Principal } from "../core/principal.ts";
import { keepAlive } from "../mcp/sse.ts";
import type { Reader } from "../session/streams.ts";
import type { Traffic } from "../session/traffic.ts";
import { boundUnread, maxQueued, portion } from "./queue-limits.ts";

const headers = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  // Otherwise nginx and similar proxies would hold events back.
  "x-accel-buffering": "no",
};
const encoder = new TextEncoder();
const keepAliveBytes = encoder.encode(keepAlive);
const keepAliveEvery = 15_000;

/** A stream whose reader has lost its key forgets what that has not read yet. */
const forgetOnLoss = endingWith<{ forget(): void }>((_, stream) => stream.forget());

/** A server-sent event stream to one reader. If the reader is slow, messages without `must` are dropped. */
export class EventStream implements Reader {
  readonly response: Response;
  readonly #traffic: Traffic;
  readonly #maxOwed: number;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #onClose: () => void;
  readonly #owner: string;
  /** Called once nothing is unread any more. */
  readonly #release: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  #unread: Uint8Array[] = [];
  /** How much of the first of these has been handed on. */
  #begun = 0;
  #owed = 0;
  #closed = false;

  /** Closes if more than `maxOwed` bytes are unread. `onClose` is called once, whichever side closes. */
  constructor(traffic: Traffic, maxOwed: number, { id, revoked }: Principal, onClose: () => void) {
    this.#traffic = traffic;
    this.#maxOwed = maxOwed;
    this.#onClose = onClose;
    const stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => void (this.#controller = controller),
        pull: () => this.#flow(),
        cancel: () => this.#left(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: portion }),
    );
    this.response = new Response(stream, { headers });
    traffic.streams++;
    this.#owner = id;
    const unwatch = forgetOnLoss(revoked, this);
    const drop = (): void => (this.#controller?.error(), this.#left());
    const uncount = traffic.unread.add(id, { queued: () => this.#owed, drop });
    this.#release = () => {
      unwatch();
      uncount();
    };
    // Bun sends the headers only with the first bytes, and a client waits for them.
    this.#write(keepAliveBytes);
    this.#timer = setInterval(() => this.#write(keepAliveBytes), keepAliveEvery).unref();
  }

  write(event: string, must: boolean): void {
    if (this.#closed) return;
    if (this.#owed < (must ? this.#maxOwed : maxQueued)) return this.#write(encoder.encode(event));
    if (!must) return void this.#traffic.lost++;
    this.#traffic.leftUnread(this.#owner, this.#owed);
    this.close();
  }

  /** Ends the stream once all of it is read. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#traffic.streams--;
    this.#flow();
    this.#onClose();
  }

  /** Leaves out what is unread. What is written from now on still arrives, unless an event broke off. */
  forget(): void {
    if (this.#begun > 0) {
      this.#controller?.error();
      return this.#left();
    }
    this.#unread = [];
    this.#owed = 0;
    this.#flow();
  }

  /** Nobody reads on. */
  #left(): void {
    this.#controller = null;
    this.#unread = [];
    this.#release();
    this.close();
  }

  #write(bytes: Uint8Array): void {
    this.#unread.push(bytes);
    this.#owed += bytes.length;
    this.#flow();
    boundUnread(this.#traffic, this.#owner, this.#owed, this.#maxOwed);
  }

  #flow(): void {
    const controller = this.#controller;
    if (!controller) return;
    for (let [first] = this.#unread; first && (controller.desiredSize ?? 0) > 0; [first] = this.#unread) {
      const bytes = first.subarray(this.#begun, this.#begun + portion);
      this.#begun += bytes.length;
      if (this.#begun === first.length) {
        // Until then all of it takes its room.
        this.#owed -= first.length;
        this.#unread.shift();
        this.#begun = 0;
      }
      controller.enqueue(bytes);
    }
    if (!this.#closed || this.#owed > 0) return;
    this.#controller = null;
    this.#release();
    controller.close();
  }
}
