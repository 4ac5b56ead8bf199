/** How many of something each owner has. Nothing is kept of owners that have none. */
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

  /** Gives an owner so many more; below zero takes as many away, as far as there are any. */
  add(owner: string, count = 1): void {
    const before = this.of(owner);
    const now = Math.max(0, before + count);
    if (now > 0) this.#byOwner.set(owner, now);
    else this.#byOwner.delete(owner);
    this.#total += now - before;
  }
}
