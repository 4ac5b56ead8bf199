import { StoreBusy, StoreFailed } from "../core/store.ts";

const retryMs = 200;

/** What is in force already and could not be stored yet, tried again until the store takes it. Disposing it stops that. */
export class Unsaved implements Disposable {
  /** By what they are about: of two about the same, only the later counts. */
  readonly #writes = new Map<string, () => void>();
  #retry: Timer | null = null;

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

  /** Stores it now if the store can take it, else later; throws what is no failure of the store. */
  save(about: string, write: () => void): void {
    try {
      write();
      this.#writes.delete(about);
    } catch (error) {
      if (!(error instanceof StoreFailed || error instanceof StoreBusy)) throw error;
      this.#writes.set(about, write);
      this.#retry ??= setInterval(() => this.#again(), retryMs).unref();
    }
  }

  #again(): void {
    for (const [about, write] of this.#writes) this.save(about, write);
    if (this.size === 0) this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#retry) clearInterval(this.#retry);
    this.#retry = null;
  }
}
