/** The wait between attempts if the server named none, and the longest wait, ms. */
const pause = { usual: 1_000, most: 30_000 };
/** A stream that lasted this long, ms, shows that the failure before it is over. */
const steady = 10_000;

/** How long to wait before the `tries`-th attempt in a row, ms. */
export function pauseBefore(retry: number | null, tries: number): number {
  return Math.min(pause.most, Math.max(1, retry ?? pause.usual) * 2 ** (tries - 1));
}

/** Paces a stream that is opened again whenever it ends: more slowly each time, as long as it does not last. */
export class Backoff {
  #tries = 0;
  #since = 0;

  begin(): void {
    this.#since = performance.now();
  }

  /** Milliseconds to wait after the stream has ended; `retry` is the wait that the server named. */
  next(retry: number | null): number {
    this.#tries = performance.now() - this.#since > steady ? 1 : this.#tries + 1;
    return pauseBefore(retry, this.#tries);
  }
}
