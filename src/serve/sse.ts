import { encodeEvent, keepAlive } from "../mcp/sse.ts";
import type { Sink } from "../session/sessions.ts";

const headers = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  // nginx and its kin would otherwise hold events back.
  "x-accel-buffering": "no",
};
const encoder = new TextEncoder();
const keepAliveBytes = encoder.encode(keepAlive);
const keepAliveEvery = 15_000;
/** Bytes that may wait for a reader; a slower one loses notifications, never a result. */
const maxQueued = 1024 * 1024;

/** A server-sent event stream to one reader. `send` drops what a slow reader cannot take; `finish` never drops. */
export class EventStream implements Sink {
  readonly response: Response;
  dropped = 0;
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #onClose: () => void;

  constructor(onClose: () => void = () => {}) {
    this.#onClose = onClose;
    const stream = new ReadableStream<Uint8Array>(
      { start: (controller) => void (this.#controller = controller), cancel: () => this.close() },
      new ByteLengthQueuingStrategy({ highWaterMark: maxQueued }),
    );
    this.response = new Response(stream, { headers });
    // Bun sends the headers with the first bytes, and a client waits for them.
    this.#write(keepAliveBytes);
    this.#timer = setInterval(() => this.#write(keepAliveBytes), keepAliveEvery);
  }

  send(message: string): void {
    if ((this.#controller?.desiredSize ?? 0) > 0) this.#write(encoder.encode(encodeEvent(message)));
    else this.dropped++;
  }

  /** Sends the last message and ends the stream. */
  finish(message: string): void {
    this.#write(encoder.encode(encodeEvent(message)));
    this.close();
  }

  close(): void {
    if (!this.#controller) return;
    const controller = this.#controller;
    this.#controller = null;
    clearInterval(this.#timer);
    try {
      controller.close();
    } catch {
      // The reader has gone already: there is nothing left to close.
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
