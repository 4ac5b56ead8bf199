import type { Principal } from "../core/principal.ts";
import { keepAlive } from "../mcp/sse.ts";
import type { Reader } from "../session/streams.ts";
import type { HttpContext } from "./http-request.ts";
import { type Outlet, type Sending, sendOrDrop } from "./queue-limits.ts";
import { UnreadBody } from "./unread-body.ts";

const headers = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  // Stops nginx and similar proxies from buffering events.
  "x-accel-buffering": "no",
};
const encoder = new TextEncoder();
const keepAliveBytes = encoder.encode(keepAlive);
const keepAliveMs = 15_000;

/** Opens a stream, which takes one of its reader's connection slots. Throws `overloaded`. */
export function openStream(context: HttpContext, who: Principal, onClose: () => void): EventStream {
  const leave = context.slots.take(who.id);
  return new EventStream(who, context, () => {
    leave();
    onClose();
  });
}

/** A server-sent event stream to one reader. Messages without `must` are dropped if the reader is slow. */
export class EventStream implements Reader, Outlet {
  readonly response: Response;
  readonly owner: string;
  readonly #sending: Sending;
  readonly #onClose: () => void;
  readonly #body: UnreadBody;
  readonly #timer: Timer;
  #closed = false;

  /** `onClose` is called once, whichever side closes the stream. */
  constructor(who: Principal, sending: Sending, onClose: () => void) {
    this.owner = who.id;
    this.#sending = sending;
    this.#onClose = onClose;
    this.#body = new UnreadBody(who, sending.traffic, () => this.close());
    this.response = new Response(this.#body.stream, { headers });
    sending.traffic.streams++;
    // Bun sends the headers only with the first bytes, and clients wait for the headers.
    this.#body.write(keepAliveBytes);
    this.#timer = setInterval(() => this.#body.write(keepAliveBytes), keepAliveMs).unref();
  }

  write(event: string, must: boolean): void {
    if (!this.#closed) sendOrDrop(this, event, must, this.#sending);
  }

  queued(): number {
    return this.#body.owed;
  }

  put(event: string): void {
    this.#body.write(encoder.encode(event));
  }

  /** Ends the stream after the client has read everything written so far. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#sending.traffic.streams--;
    this.#body.end();
    this.#onClose();
  }
}
