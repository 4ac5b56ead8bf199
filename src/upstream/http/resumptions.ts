import { pauseBefore } from "../backoff.ts";

/** Maximum number of consecutive attempts that brought nothing (`vain`), or at most event ids (`idle`). */
const most = { vain: 5, idle: 100 };
/** Minimum wait between two attempts, ms: a server may choose the wait, but must not keep the gateway busy. */
const shortest = 100;

/** Paces the attempts to resume the stream of one request. */
export class Resumptions {
  #vain = 0;
  #idle = 0;

  /** Records what the stream brought before it ended: a message, or a new position to resume from. */
  brought(what: "message" | "position" | "nothing"): void {
    if (what === "message") this.#idle = 0;
    if (what !== "nothing") this.#vain = 0;
  }

  /** Returns the wait before the next attempt, ms; null for no attempt. `retry` is the wait that the server chose. */
  next(retry: number | null): number | null {
    if (++this.#vain > most.vain || ++this.#idle > most.idle) return null;
    return Math.max(shortest, pauseBefore(retry, this.#vain));
  }
}
