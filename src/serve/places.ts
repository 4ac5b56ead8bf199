import { Failure } from "../core/failure.ts";

const most = 4_096;
const mostOfOne = 1_000;

/** The places for clients that hold a connection: bounded, for each principal and in all. */
export class Places {
  readonly #taken = new Map<string, number>();
  #total = 0;

  /** Takes one for a principal id. Returns the way to give it back, once. Throws `overloaded`. */
  take(owner: string): () => void {
    const mine = this.#taken.get(owner) ?? 0;
    if (mine >= mostOfOne || this.#total >= most) {
      const whose = mine >= mostOfOne ? `your ${mostOfOne}` : `all ${most}`;
      throw new Failure("overloaded", `The places for open connections, ${whose}, are taken; try again later.`, {
        retryAfterMs: 5_000,
      });
    }
    this.#taken.set(owner, mine + 1);
    this.#total++;
    return () => {
      this.#total--;
      const left = (this.#taken.get(owner) ?? 1) - 1;
      if (left > 0) this.#taken.set(owner, left);
      else this.#taken.delete(owner);
    };
  }
}
