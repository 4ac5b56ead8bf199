import { within } from "./wait.ts";

/** Counts activities in progress and lets callers wait until there are none. */
export class Busy {
  #count = 0;
  #idle: PromiseWithResolvers<void> | null = null;

  /** Marks the start of an activity; call `leave` once when it ends. */
  enter(): void {
    this.#count++;
  }

  leave(): void {
    if (--this.#count > 0) return;
    this.#idle?.resolve();
    this.#idle = null;
  }

  /** Resolves once no activity is in progress, or after `ms` (null: no limit). */
  async idle(ms: number | null): Promise<void> {
    if (this.#count === 0) return;
    this.#idle ??= Promise.withResolvers();
    await within(this.#idle.promise, ms, null, () => {});
  }
}
