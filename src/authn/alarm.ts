import type { Clock } from "../core/clock.ts";

/** Ms between two looks at the clock: a timer counts neither a step of it nor the time that the machine was asleep. */
const longestWait = 1_000;

/** Calls back once the wall clock has reached a time. Disposing it stops that. */
export class Alarm implements Disposable {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #timer: Timer | undefined;
  #at = Infinity;

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Epoch ms; infinite for never. */
  get at(): number {
    return this.#at;
  }

  /** From now on this time counts, and no other. */
  set(at: number): void {
    clearTimeout(this.#timer);
    this.#at = at;
    if (at === Infinity) return;
    const now = this.#clock.now() / 1000;
    const wait = Math.min(Math.max(at - now, 1), longestWait);
    this.#timer = setTimeout(() => {
      if (at > this.#clock.now() / 1000) this.set(at);
      else this.#ring();
    }, wait).unref();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
