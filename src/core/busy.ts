import { within } from "./wait.ts";

/** Counts what is being done, for those who wait until nothing is. */
export class Busy {
  #count = 0;
  #idle: PromiseWithResolvers<void> | null = null;

  /** Something begins; `leave` is called once when it has ended. */
  enter(): void {
    this.#count++;
  }

  leave(): void {
    if (--this.#count > 0) return;
    this.#idle?.resolve();
    this.#idle = null;
  }

  /** Resolves once nothing is being done, at the latest after `ms` (null: no limit). */
  async idle(ms: number | null): Promise<void> {
    if (this.#count === 0) return;
    this.#idle ??= Promise.withResolvers();
    await within(this.#idle.promise, ms, null, () => {});
  }
}
