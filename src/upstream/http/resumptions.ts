import { pauseBefore } from "../backoff.ts";

/** Most attempts in a row to resume a stream: those that brought nothing, and those that brought only event ids. */
const most = { vain: 5, idle: 100 };
/** The shortest wait between two attempts, ms: a server may name the wait, but must not keep the gateway busy. */
const shortest = 100;

/** Paces the attempts to resume the stream of one request. */
export class Resumptions {
  #vain = 0;
  #idle = 0;

  /** Notes what the stream brought before it ended: a message, or a new position to resume from. */
  brought(what: "message" | "position" | "nothing"): void {
    if (what === "message") this.#idle = 0;
    if (what !== "nothing") this.#vain = 0;
  }

  /**
   * Milliseconds to wait before the next attempt; null when there must be none. `retry` is the wait that the server
   * named.
   */
  next(retry: number | null): number | null {
    if (++this.#vain > most.vain || ++this.#idle > most.idle) return null;
    return Math.max(shortest, pauseBefore(retry, this.#vain));
  }
}
