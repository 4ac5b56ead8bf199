import { Counts } from "../core/counts.ts";
import { Failure } from "../core/failure.ts";

const mostOfOne = 1_000;

/**
 * The places for clients with a long-lived connection of any kind, limited per principal: its connections, its requests
 * that arrive and those that run leave room for others in `listen.maxConnections`, which limits all together.
 */
export class ConnectionSlots {
  readonly #taken = new Counts();

  /** Takes a place for a principal id. Returns the way to give it back, to be called once. Throws `overloaded`. */
  take(owner: string): () => void {
    if (this.#taken.of(owner) >= mostOfOne) {
      throw new Failure("overloaded", `Your ${mostOfOne} places for open connections are taken; try again later.`, {
        retryAfterMs: 5_000,
      });
    }
    this.#taken.add(owner);
    return () => this.#taken.add(owner, -1);
  }
}
