import { orNull } from "../core/attempt.ts";
import type { KeyStore } from "../core/store.ts";

/** A use of a key is stored only if it is at least this much later than the stored one, ms. */
const apart = 3_600_000;
/** How long a use waits to be stored together with others, ms. */
const delay = 60_000;
/** Maximum number of uses stored at once, so that no call waits for long, and the pause before the rest, ms. */
const slice = { most: 2_000, pause: 100 };

/**
 * When each key was last used. No call waits for a write: uses are stored in batches, for each key at most once an hour
 * and at shutdown, so after a crash a time may be up to an hour old. Disposing it stops its timer.
 */
export class Uses implements Disposable {
  readonly #store: Pick<KeyStore, "uses" | "saveUses">;
  /** Epoch ms by key id. */
  readonly #used = new Map<string, number>();
  readonly #saved = new Map<string, number>();
  /** Ids of the keys whose last use is due to be stored. */
  readonly #due = new Set<string>();
  /** The existing keys. */
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
   * Forgets keys that no longer exist, after their due uses are stored. What the store holds about them stays: the keys
   * may come back, and other processes share the store.
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

  /** Also stores the uses that are not due, at shutdown. */
  saveAll(): void {
    for (const [id, at] of this.#used) if (at > (this.#saved.get(id) ?? 0)) this.#due.add(id);
    this.save();
  }

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
      // Others report a full disk, for example. Nothing depends on this, and the next use tries again.
      return;
    }
    for (const [id, at] of uses) {
      this.#saved.set(id, at);
      this.#due.delete(id);
      this.#forgetLeft(id);
    }
    if (this.#due.size > 0) this.#timer = this.#saveIn(slice.pause);
  }

  /** Returns the last use of each key that has one; if the store cannot be read, only the uses in this process. */
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
    // During an incident, the list of keys is needed most when the store cannot be read.
    return orNull(() => this.#store.uses()) ?? this.#saved;
  }

  #saveIn(ms: number): Timer {
    return setTimeout(() => this.save(slice.most), ms).unref();
  }
}
