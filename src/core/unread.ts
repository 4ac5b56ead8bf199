/** A client connection that may hold data that its client has not read. */
type Holder = {
  /** Returns the bytes that the client has not read yet. */
  queued(): number;
  /** Closes the connection and discards them. */
  drop(): void;
};

/** The unread data on all connections of each owner: a principal, or a user of this host. */
export class Unread {
  readonly #byOwner = new Map<string, Set<Holder>>();
  readonly #dropping: (owner: string, bytes: number) => void;

  /** `dropping` is called for each dropped connection with the bytes that it holds. */
  constructor(dropping: (owner: string, bytes: number) => void) {
    this.#dropping = dropping;
  }

  /** Adds a connection of an owner; returns a function that removes it. */
  add(owner: string, holder: Holder): () => void {
    const all = this.#byOwner.getOrInsertComputed(owner, () => new Set()).add(holder);
    return () => {
      all.delete(holder);
      if (all.size === 0 && this.#byOwner.get(owner) === all) this.#byOwner.delete(owner);
    };
  }

  /** Drops the connections of an owner that hold the most, until the others hold `most` bytes at most. */
  bound(owner: string, most: number): void {
    const held = [...(this.#byOwner.get(owner) ?? [])].map((holder) => ({ holder, bytes: holder.queued() }));
    let sum = 0;
    for (const { bytes } of held) sum += bytes;
    if (sum <= most) return;
    for (const { holder, bytes } of held.toSorted((a, b) => b.bytes - a.bytes)) {
      if (sum <= most) return;
      sum -= bytes;
      this.#dropping(owner, bytes);
      holder.drop();
    }
  }
}
