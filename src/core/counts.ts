/** A count per owner. Owners whose count is zero are forgotten. */
export class Counts {
  readonly #byOwner = new Map<string, number>();
  #total = 0;

  get total(): number {
    return this.#total;
  }

  get owners(): number {
    return this.#byOwner.size;
  }

  of(owner: string): number {
    return this.#byOwner.get(owner) ?? 0;
  }

  /** Adds to an owner's count; a negative `count` subtracts, down to zero at most. */
  add(owner: string, count = 1): void {
    const before = this.of(owner);
    const now = Math.max(0, before + count);
    if (now > 0) this.#byOwner.set(owner, now);
    else this.#byOwner.delete(owner);
    this.#total += now - before;
  }
}
