/** Counts how often something happens in one turn of the event loop, at most. */
export class PerTurn implements Disposable {
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

/** Uses the event loop for so long, ms. */
export function use(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}
