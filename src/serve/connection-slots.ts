import { Counts } from "../core/counts.ts";
import { Failure } from "../core/failure.ts";

const mostOfOne = 1_000;

/**
 * The slots for long-lived connections of any kind, limited per principal so that one principal's connections, arriving
 * requests and running requests leave room for others within `listen.maxConnections`, the limit for all together.
 */
export class ConnectionSlots {
  readonly #taken = new Counts();

  /** Takes a slot for a principal id. Returns the function that frees it, to be called once. Throws `overloaded`. */
  take(owner: string): () => void {
    if (this.#taken.of(owner) >= mostOfOne) {
      throw new Failure("overloaded", `You already have ${mostOfOne} open connections, the maximum; try again later.`, {
        retryAfterMs: 5_000,
      });
    }
    this.#taken.add(owner);
    return () => this.#taken.add(owner, -1);
  }
}
