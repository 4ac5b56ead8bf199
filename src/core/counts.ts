/** How many of something each owner has. Owners with none are forgotten. */
export class Counts {
  readonly #byOwner = new Map<string, number>();
  #total = 0;

  /** Of all owners together. */
  get total(): number {
    return this.#total;
  }

  /** Owners that have any. */
  get owners(): number {
    return this.#byOwner.size;
  }

  of(owner: string): number {
    return this.#byOwner.get(owner) ?? 0;
  }

  /** Adds to an owner's number; a negative count takes away, at most down to zero. */
  add(owner: string, count = 1): void {
    const before = this.of(owner);
    const now = Math.max(0, before + count);
    if (now > 0) this.#byOwner.set(owner, now);
    else this.#byOwner.delete(owner);
    this.#total += now - before;
  }
}
