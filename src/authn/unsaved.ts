import { StoreBusy, StoreFailed } from "../core/store.ts";

const retryMs = 200;
/** How many times as long as an attempt takes the next one waits: calls wait for as long as the store does. */
const rest = 9;

/**
 * Changes that are in force but could not be stored yet: each is tried until the store takes it. Disposing it stops
 * that.
 */
export class Unsaved implements Disposable {
  /** Writes by subject, such as a key: of two writes about one subject only the later counts. */
  readonly #writes = new Map<string, () => void>();
  #retry: Timer | undefined;
  readonly #makeRoom: () => boolean;

  /** `makeRoom` frees room on a full disk, and returns false if there is none to free. */
  constructor(makeRoom: () => boolean = () => false) {
    this.#makeRoom = makeRoom;
  }

  get size(): number {
    return this.#writes.size;
  }

  has(about: string): boolean {
    return this.#writes.has(about);
  }

  /** Drops the write about this: something newer was stored. */
  forget(about: string): void {
    this.#writes.delete(about);
  }

  /** Drops all: nothing of it is tried again. */
  clear(): void {
    this.#writes.clear();
    this[Symbol.dispose]();
  }

  /** Stores it now, or later if the store cannot take it; throws errors that are not the store's. */
  save(about: string, write: () => void): void {
    if (this.#try(about, write) !== null) this.#retryIn(retryMs);
  }

  again(): void {
    this[Symbol.dispose]();
    const from = performance.now();
    try {
      for (const [about, write] of this.#writes) {
        // It would be so for the others too.
        if (this.#try(about, write) instanceof StoreBusy) break;
      }
    } finally {
      if (this.size > 0) this.#retryIn(Math.max(retryMs, rest * (performance.now() - from)));
    }
  }

  /** What keeps the store from taking it; null if it has. */
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
