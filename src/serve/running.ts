/** The calls that are running now, so that a shutdown can wait for them and then cancel what is left. */
export class Running {
  readonly #all = new Set<AbortController>();
  #idle: (() => void) | null = null;

  get size(): number {
    return this.#all.size;
  }

  add(): AbortController {
    const controller = new AbortController();
    this.#all.add(controller);
    return controller;
  }

  delete(controller: AbortController): void {
    this.#all.delete(controller);
    if (this.#all.size === 0) this.#idle?.();
  }

  /** Resolves when nothing runs any more, or after `ms`. */
  async idle(ms: number): Promise<void> {
    if (this.#all.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#idle = resolve;
    await promise;
    clearTimeout(timer);
  }

  /** Waits `ms` for what runs, cancels the rest and waits `grace` ms for it to be on record. */
  async end(ms: number, grace: number): Promise<void> {
    await this.idle(ms);
    this.#abortAll();
    await this.idle(grace);
  }

  #abortAll(): void {
    for (const controller of this.#all) controller.abort();
  }
}
