import { pauseBefore } from "../backoff.ts";

/** Attempts to go on with a stream in a row: those that brought nothing, and those that brought only event ids. */
const most = { vain: 5, idle: 100 };
/** Between two of them, ms: a server may name a time, but not keep the gateway busy. */
const shortest = 100;

/** Paces the attempts to go on with the stream of one request. */
export class Resumptions {
  #vain = 0;
  #idle = 0;

  /** What the stream brought before it ended: a message, or a new place to go on from. */
  brought(what: "message" | "place" | "nothing"): void {
    if (what === "message") this.#idle = 0;
    if (what !== "nothing") this.#vain = 0;
  }

  /** Milliseconds to wait before the next one, null when there is to be none; `retry` is the time that the server named. */
  next(retry: number | null): number | null {
    if (++this.#vain > most.vain || ++this.#idle > most.idle) return null;
    return Math.max(shortest, pauseBefore(retry, this.#vain));
  }
}
