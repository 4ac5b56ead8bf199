import { orNull } from "../core/attempt.ts";
import type { KeyStore } from "../core/store.ts";

/** A use of a key is stored only if it is that much later than the stored one, ms. */
const apart = 3_600_000;
/** How long a use waits to be stored with others, ms. */
const delay = 60_000;
/** How many are stored at once, so that no call waits for long, and how long the rest waits, ms. */
const slice = { most: 2_000, pause: 100 };

/**
 * When each key was used last. No call waits for a write: uses are stored together, and each key's once an hour at most
 * and at the end, so after a crash the time may lie up to an hour back. Disposing it stops its timer.
 */
export class Uses implements Disposable {
  readonly #store: Pick<KeyStore, "uses" | "saveUses">;
  /** Epoch ms by the id of the key. */
  readonly #used = new Map<string, number>();
  readonly #saved = new Map<string, number>();
  /** The keys whose last use is to be stored. */
  readonly #due = new Set<string>();
  /** The keys that are there. */
  #keys: { has(id: string): boolean } = { has: () => true };
  #timer: Timer | undefined;

  constructor(store: Pick<KeyStore, "uses" | "saveUses">) {
    this.#store = store;
  }

  note(id: string, at: number): void {
    this.#used.set(id, at);
    if (at - (this.#saved.get(id) ?? 0) < apart) return;
    this.#due.add(id);
    this.#timer ??= this.#saveIn(delay);
  }

  /**
   * Forgets keys that are there no more, those whose use is due once that is stored. What is stored of them stays: they
   * may come back, and others share the store.
   */
  keep(keys: { has(id: string): boolean }): void {
    this.#keys = keys;
    this.save(slice.most);
    for (const id of this.#used.keys()) if (!this.#due.has(id)) this.#forgetLeft(id);
  }

  #forgetLeft(id: string): void {
    if (this.#keys.has(id)) return;
    this.#used.delete(id);
    this.#saved.delete(id);
  }

  /** Stores, at the end, also what is not due. */
  saveAll(): void {
    for (const [id, at] of this.#used) if (at > (this.#saved.get(id) ?? 0)) this.#due.add(id);
    this.save();
  }

  /** Stores what is due, of `most` keys. */
  save(most = Infinity): void {
    this[Symbol.dispose]();
    const uses = new Map<string, number>();
    for (const id of this.#due) {
      if (uses.size === most) break;
      uses.set(id, this.#used.get(id) ?? 0);
    }
    if (uses.size === 0) return;
    try {
      this.#store.saveUses(uses);
    } catch {
      // A full disk, say, of which others tell; nothing hangs on this, and the next use tries again.
      return;
    }
    for (const [id, at] of uses) {
      this.#saved.set(id, at);
      this.#due.delete(id);
      this.#forgetLeft(id);
    }
    if (this.#due.size > 0) this.#timer = this.#saveIn(slice.pause);
  }

  /** The last use of each key that has one; where the store cannot be read, those of this process. */
  all(): ReadonlyMap<string, number> {
    const all = new Map(this.#stored());
    for (const [id, at] of this.#used) all.set(id, Math.max(at, all.get(id) ?? 0));
    return all;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #stored(): ReadonlyMap<string, number> {
    // Whoever answers an incident needs the list of keys most when the store cannot be read.
    return orNull(() => this.#store.uses()) ?? this.#saved;
  }

  #saveIn(ms: number): Timer {
    return setTimeout(() => this.save(slice.most), ms).unref();
  }
}
