/** Between attempts when the server named no time, ms; and at most. */
const pause = { usual: 1_000, most: 30_000 };
/** A stream that held this long has recovered from the failure of the one before it, ms. */
const steady = 10_000;

/** How long to wait before the `tries`-th attempt in a row, ms. */
export function pauseBefore(retry: number | null, tries: number): number {
  return Math.min(pause.most, Math.max(1, retry ?? pause.usual) * 2 ** (tries - 1));
}

/** Paces something that is begun again whenever it ends, ever more slowly while it does not hold. */
export class Backoff {
  #tries = 0;
  #since = 0;

  begin(): void {
    this.#since = performance.now();
  }

  /** Milliseconds to wait now that it has ended; `retry` is the time that the server named. */
  next(retry: number | null): number {
    this.#tries = performance.now() - this.#since > steady ? 1 : this.#tries + 1;
    return pauseBefore(retry, this.#tries);
  }
}
