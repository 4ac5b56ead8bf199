import { StoreBusy, StoreFailed } from "../core/store.ts";

const retryMs = 200;

/** Changes in force that could not be stored yet: each is tried until the store takes it. Disposing it stops that. */
export class Unsaved implements Disposable {
  /** By their subject, such as a key: of two writes about one subject only the later counts. */
  readonly #writes = new Map<string, () => void>();
  #retry: Timer | null = null;
  readonly #makeRoom: () => boolean;

  /** `makeRoom` frees room on a full disk; false when there is none to free. */
  constructor(makeRoom: () => boolean = () => false) {
    this.#makeRoom = makeRoom;
  }

  get size(): number {
    return this.#writes.size;
  }

  has(about: string): boolean {
    return this.#writes.has(about);
  }

  /** Something else was stored about this. */
  forget(about: string): void {
    this.#writes.delete(about);
  }

  /** Stores it now if the store can take it, else later; throws errors that are no failure of the store. */
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

  /** Tries all of them now. */
  again(): void {
    for (const [about, write] of this.#writes) this.save(about, write);
    if (this.size === 0) this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#retry) clearInterval(this.#retry);
    this.#retry = null;
  }
}
