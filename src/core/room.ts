import { Counts } from "./counts.ts";

/** Most that one owner may take, and all together. */
type RoomBounds = { readonly ofOne: number; readonly ofAll: number };

/** The bound that stands in the way. */
export type Full = { readonly of: "one" | "all"; readonly most: number };

/** What each owner takes of a room that all share. */
export class Room extends Counts {
  readonly #bounds: RoomBounds;

  constructor(bounds: RoomBounds) {
    super();
    this.#bounds = bounds;
  }

  /** Which bound so much more of an owner would pass; null: none. Two of the `longest` find room in any case. */
  whyFull(owner: string, more: number, longest: number): Full | null {
    const ofOne = Math.max(this.#bounds.ofOne, 2 * longest);
    if (this.of(owner) + more > ofOne) return { of: "one", most: ofOne };
    const ofAll = Math.max(this.#bounds.ofAll, 2 * longest);
    return this.total + more > ofAll ? { of: "all", most: ofAll } : null;
  }
}
