/** The default wait between attempts, if the server named none, and the maximum wait, ms. */
const pause = { usual: 1_000, most: 30_000 };
/** A stream that lasts this long, ms, resets the backoff. */
const steady = 10_000;

/** Returns how long to wait before the `tries`-th attempt in a row, ms. */
export function pauseBefore(retry: number | null, tries: number): number {
  return Math.min(pause.most, Math.max(1, retry ?? pause.usual) * 2 ** (tries - 1));
}

/** Paces the reopening of a stream: each wait is longer than the last until a stream lasts. */
export class Backoff {
  #tries = 0;
  #since = 0;

  begin(): void {
    this.#since = performance.now();
  }

  /** Returns the milliseconds to wait after the stream has ended; `retry` is the wait that the server named. */
  next(retry: number | null): number {
    this.#tries = performance.now() - this.#since > steady ? 1 : this.#tries + 1;
    return pauseBefore(retry, this.#tries);
  }
}
