import { StoreBusy, StoreFailed } from "../core/store.ts";

const retryMs = 200;
/** The pause before the next attempt, as a multiple of the last attempt's duration, because an attempt blocks calls. */
const rest = 9;

/** Changes in effect that could not be stored yet; each is retried until it is stored or this is disposed. */
export class Unsaved implements Disposable {
  /** Writes by subject, such as a key id; a later write replaces an earlier one about the same subject. */
  readonly #writes = new Map<string, () => void>();
  #retry: Timer | undefined;
  readonly #makeRoom: () => boolean;

  /** `makeRoom` frees space on a full disk; it returns false if there is none to free. */
  constructor(makeRoom: () => boolean = () => false) {
    this.#makeRoom = makeRoom;
  }

  get size(): number {
    return this.#writes.size;
  }

  has(about: string): boolean {
    return this.#writes.has(about);
  }

  /** Drops a write, because something newer was stored. */
  forget(about: string): void {
    this.#writes.delete(about);
  }

  clear(): void {
    this.#writes.clear();
    this[Symbol.dispose]();
  }

  /** Runs a write now, or later if the store cannot take it. Throws errors that are not the store's. */
  save(about: string, write: () => void): void {
    if (this.#try(about, write) !== null) this.#retryIn(retryMs);
  }

  again(): void {
    this[Symbol.dispose]();
    const from = performance.now();
    try {
      for (const [about, write] of this.#writes) {
        // The store would be busy for the other writes too.
        if (this.#try(about, write) instanceof StoreBusy) break;
      }
    } finally {
      if (this.size > 0) this.#retryIn(Math.max(retryMs, rest * (performance.now() - from)));
    }
  }

  /** Runs a write and keeps it if the store cannot take it. Returns the store's error; null if it was stored. */
  #try(about: string, write: () => void): StoreBusy | StoreFailed | null {
    try {
      write();
      this.#writes.delete(about);
      return null;
    } catch (error) {
      if (error instanceof StoreFailed && this.#makeRoom()) return this.#try(about, write);
      if (!(error instanceof StoreFailed || error instanceof StoreBusy)) throw error;
      this.#writes.set(about, write);
      return error;
    }
  }

  #retryIn(ms: number): void {
    this.#retry ??= setTimeout(() => this.again(), ms).unref();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
  }
}
