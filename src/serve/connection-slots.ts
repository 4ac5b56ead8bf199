import { Counts } from "../core/counts.ts";
import { Failure } from "../core/failure.ts";

const most = 4_096;
const mostOfOne = 1_000;

/**
 * The places for clients with a long-lived connection of any kind, limited per principal and in total. One principal's,
 * its requests that arrive and those that run leave room for others in `listen.maxConnections`.
 */
export class ConnectionSlots {
  readonly #taken = new Counts();

  /** Takes a place for a principal id. Returns the way to give it back, to be called once. Throws `overloaded`. */
  take(owner: string): () => void {
    const mine = this.#taken.of(owner);
    if (mine >= mostOfOne || this.#taken.total >= most) {
      const whose = mine >= mostOfOne ? `your ${mostOfOne}` : `all ${most}`;
      throw new Failure("overloaded", `The places for open connections, ${whose}, are taken; try again later.`, {
        retryAfterMs: 5_000,
      });
    }
    this.#taken.add(owner);
    return () => this.#taken.add(owner, -1);
  }
}
