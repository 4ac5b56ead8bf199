import { keepAlive } from "../mcp/sse.ts";
import type { Reader } from "../session/streams.ts";
import type { Traffic } from "../session/traffic.ts";
import { maxQueued } from "./queue-limits.ts";

const headers = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  // Otherwise nginx and similar proxies would hold events back.
  "x-accel-buffering": "no",
};
const encoder = new TextEncoder();
const keepAliveBytes = encoder.encode(keepAlive);
const keepAliveEvery = 15_000;

/** A server-sent event stream to one reader. If the reader is slow, messages without `must` are dropped. */
export class EventStream implements Reader {
  readonly response: Response;
  readonly #traffic: Traffic;
  readonly #maxOwed: number;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #onClose: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;

  /** Closes if more than `maxOwed` bytes are unread. `onClose` is called once, whichever side closes. */
  constructor(traffic: Traffic, maxOwed: number, onClose: () => void = () => {}) {
    this.#traffic = traffic;
    this.#maxOwed = maxOwed;
    this.#onClose = onClose;
    const stream = new ReadableStream<Uint8Array>(
      { start: (controller) => void (this.#controller = controller), cancel: () => this.close() },
      new ByteLengthQueuingStrategy({ highWaterMark: maxQueued }),
    );
    this.response = new Response(stream, { headers });
    traffic.streams++;
    // Bun sends the headers only with the first bytes, and a client waits for them.
    this.#write(keepAliveBytes);
    this.#timer = setInterval(() => this.#write(keepAliveBytes), keepAliveEvery).unref();
  }

  write(event: string, must: boolean): void {
    const room = this.#controller?.desiredSize ?? 0;
    if (room > 0 || (must && room > maxQueued - this.#maxOwed)) this.#write(encoder.encode(event));
    else if (must) this.close();
    else this.#traffic.lost++;
  }

  close(): void {
    if (!this.#controller) return;
    const controller = this.#controller;
    this.#controller = null;
    clearInterval(this.#timer);
    this.#traffic.streams--;
    try {
      controller.close();
    } catch {
      // The reader has already gone.
    }
    this.#onClose();
  }

  #write(bytes: Uint8Array): void {
    try {
      this.#controller?.enqueue(bytes);
    } catch {
      this.close();
    }
  }
}
