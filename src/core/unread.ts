/** A connection of a client that may hold what its client has not read. */
type Holder = {
  /** Bytes that the client has not taken yet. */
  queued(): number;
  /** Ends the connection and forgets them. */
  drop(): void;
};

/** What clients have not read, on all connections of an owner together: a principal, or a user of this host. */
export class Unread {
  readonly #byOwner = new Map<string, Set<Holder>>();
  readonly #dropping: (owner: string, bytes: number) => void;

  /** `dropping` is told of each connection that is dropped, and what that holds. */
  constructor(dropping: (owner: string, bytes: number) => void) {
    this.#dropping = dropping;
  }

  /** Counts a connection of an owner; returns the way to count it no more. */
  add(owner: string, holder: Holder): () => void {
    const all = this.#byOwner.getOrInsertComputed(owner, () => new Set()).add(holder);
    return () => {
      all.delete(holder);
      if (all.size === 0 && this.#byOwner.get(owner) === all) this.#byOwner.delete(owner);
    };
  }

  /** Drops those connections of an owner that hold the most, until the others hold no more than `most` bytes. */
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
