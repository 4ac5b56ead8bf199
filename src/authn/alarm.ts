import type { Clock } from "../core/clock.ts";

/** Maximum ms between two clock checks, because a timer misses clock changes and time that the machine was asleep. */
const maxDelayMs = 1_000;

/** Calls back once the wall clock has reached a set time. Disposing it cancels the callback. */
export class Alarm implements Disposable {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #timer: Timer | undefined;
  #at = Infinity;

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Epoch ms; Infinity for never. */
  get at(): number {
    return this.#at;
  }

  set(at: number): void {
    clearTimeout(this.#timer);
    this.#at = at;
    if (at === Infinity) return;
    const now = this.#clock.now() / 1000;
    const wait = Math.min(Math.max(at - now, 1), maxDelayMs);
    this.#timer = setTimeout(() => {
      if (at > this.#clock.now() / 1000) this.set(at);
      else this.#ring();
    }, wait).unref();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
