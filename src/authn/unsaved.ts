import { StoreBusy, StoreFailed } from "../core/store.ts";

const retryMs = 200;

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

  /** Stores it now, or later if the store cannot take it; throws errors that are not the store's. */
  save(about: string, write: () => void): void {
    try {
      write();
      this.#writes.delete(about);
    } catch (error) {
      if (error instanceof StoreFailed && this.#makeRoom()) return this.save(about, write);
      if (!(error instanceof StoreFailed || error instanceof StoreBusy)) throw error;
      this.#writes.set(about, write);
      this.#retry ??= setInterval(() => this.again(), retryMs).unref();
    }
  }

  again(): void {
    for (const [about, write] of this.#writes) this.save(about, write);
    if (this.size === 0) this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#retry);
    this.#retry = undefined;
  }
}
