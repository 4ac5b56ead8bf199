import { Counts } from "../core/counts.ts";
import { Failure } from "../core/failure.ts";

const maxPerCaller = 1_000;

/** Limits each principal's long-lived connections of any kind, to leave room for others in `listen.maxConnections`. */
export class ConnectionSlots {
  readonly #taken = new Counts();

  /** Takes a slot for a principal id. Returns the function that frees it, to be called once. Throws `overloaded`. */
  take(owner: string): () => void {
    if (this.#taken.of(owner) >= maxPerCaller) {
      throw new Failure(
        "overloaded",
        `You already have ${maxPerCaller} open connections, the maximum; try again later.`,
        {
          retryAfterMs: 5_000,
        },
      );
    }
    this.#taken.add(owner);
    return () => this.#taken.add(owner, -1);
  }
}
