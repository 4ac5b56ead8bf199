/** Counts the maximum number of times that something happens in one turn of the event loop. */
export class PerTurnCounter implements Disposable {
  most = 0;
  #now = 0;
  #over = false;

  constructor() {
    this.#turn();
  }

  count(): void {
    this.most = Math.max(this.most, ++this.#now);
  }

  [Symbol.dispose](): void {
    this.#over = true;
  }

  #turn(): void {
    this.#now = 0;
    if (!this.#over) setImmediate(() => this.#turn());
  }
}

/** Blocks the event loop for `ms`. */
export function use(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}
