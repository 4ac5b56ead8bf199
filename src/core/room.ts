import { Counts } from "./counts.ts";

/** The maximum for one owner, and for all of them together. */
type RoomBounds = { readonly ofOne: number; readonly ofAll: number };

/** The bound that was reached. */
export type Full = { readonly of: "one" | "all"; readonly most: number };

/** A shared quota, with the amount that each owner uses. */
export class Room extends Counts {
  readonly #bounds: RoomBounds;

  constructor(bounds: RoomBounds) {
    super();
    this.#bounds = bounds;
  }

  /** Returns the bound that `more` would exceed, or null. Two items of size `longest` always fit. */
  exceededBound(owner: string, more: number, longest: number): Full | null {
    const ofOne = Math.max(this.#bounds.ofOne, 2 * longest);
    if (this.of(owner) + more > ofOne) return { of: "one", most: ofOne };
    const ofAll = Math.max(this.#bounds.ofAll, 2 * longest);
    return this.total + more > ofAll ? { of: "all", most: ofAll } : null;
  }
}
