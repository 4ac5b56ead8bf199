import type { Principal } from "../core/principal.ts";
import { keepAlive } from "../mcp/sse.ts";
import type { Reader } from "../session/streams.ts";
import type { Traffic } from "../session/traffic.ts";
import type { HttpContext } from "./http-request.ts";
import { hasRoom, maxOwed } from "./queue-limits.ts";
import { UnreadBody } from "./unread-body.ts";

const headers = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  // Otherwise nginx and similar proxies would hold events back.
  "x-accel-buffering": "no",
};
const encoder = new TextEncoder();
const keepAliveBytes = encoder.encode(keepAlive);
const keepAliveEvery = 15_000;

/** Opens a stream that takes one of its reader's places. Throws `overloaded`. */
export function openStream({ traffic, current, slots }: HttpContext, who: Principal, onClose: () => void): EventStream {
  const leave = slots.take(who.id);
  return new EventStream(traffic, maxOwed(current()), who, () => {
    leave();
    onClose();
  });
}

/** A server-sent event stream to one reader. If the reader is slow, messages without `must` are dropped. */
export class EventStream implements Reader {
  readonly response: Response;
  readonly #traffic: Traffic;
  readonly #maxOwed: number;
  /** Id of the principal that reads. */
  readonly #owner: string;
  readonly #onClose: () => void;
  readonly #body: UnreadBody;
  readonly #timer: ReturnType<typeof setInterval>;
  #closed = false;

  /**
   * Closes on a message with `must` when `maxOwed` bytes are unread. `onClose` is called once, whichever side closes.
   */
  constructor(traffic: Traffic, maxOwed: number, who: Principal, onClose: () => void) {
    this.#traffic = traffic;
    this.#maxOwed = maxOwed;
    this.#owner = who.id;
    this.#onClose = onClose;
    this.#body = new UnreadBody(traffic, maxOwed, who, () => this.close());
    this.response = new Response(this.#body.stream, { headers });
    traffic.streams++;
    // Bun sends the headers only with the first bytes, and a client waits for them.
    this.#body.write(keepAliveBytes);
    this.#timer = setInterval(() => this.#body.write(keepAliveBytes), keepAliveEvery).unref();
  }

  write(event: string, must: boolean): void {
    if (this.#closed) return;
    if (hasRoom(this.#body.owed, must, this.#maxOwed)) return this.#body.write(encoder.encode(event));
    if (!must) return void this.#traffic.lost++;
    this.#traffic.leftUnread(this.#owner, this.#body.owed);
    this.close();
  }

  /** Ends the stream once all of it is read. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#traffic.streams--;
    this.#body.end();
    this.#onClose();
  }
}
