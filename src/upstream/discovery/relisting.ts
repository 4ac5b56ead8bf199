import { type ListName, listNames } from "../../core/lists.ts";
import { maxTimerMs } from "../../core/clock.ts";
import type { Terms } from "../host.ts";

/** The pause after a reading, as a multiple of the gateway's time for that reading. */
const pauses = 20;

/** Returns how long to wait after a reading that took the gateway `took` ms, ms. */
export const pauseAfter = (took: number, { host }: Terms): number => Math.max(host.tuning.debounce, took * pauses);

/** Decides when a server's lists are read again: soon after a change, and regularly while the server runs. */
export class Relisting {
  readonly #terms: Terms;
  readonly #busy: () => boolean;
  readonly #read: (which: readonly ListName[]) => void;
  #changed = new Set<ListName>();
  #soon: Timer | undefined;
  #regular: Timer | undefined;
  /** When lists may be read again (`performance.now`). */
  #next = 0;
  #ended = false;

  /** `busy`: whether the instance is in use for something else, so that reading has to wait. */
  constructor(terms: Terms, busy: () => boolean, read: (which: readonly ListName[]) => void) {
    this.#terms = terms;
    this.#busy = busy;
    this.#read = read;
  }

  /** Records lists that may have changed; changes within a short time are read together. */
  changed(which: Iterable<ListName>): void {
    if (this.#ended) return;
    for (const list of which) this.#changed.add(list);
    if (this.#changed.size > 0) this.#readSoon();
  }

  /** Records that a reading took the gateway `ms`: lists that change all the time must not keep it busy. */
  took(ms: number): void {
    this.#next = performance.now() + pauseAfter(ms, this.#terms);
  }

  #readSoon(): void {
    const wait = this.#next - performance.now();
    this.#soon ??= setTimeout(
      () => {
        this.#soon = undefined;
        if (this.#busy() || performance.now() < this.#next) return this.#readSoon();
        const which = [...this.#changed];
        this.#changed.clear();
        this.#read(which);
      },
      Math.max(wait, this.#terms.host.tuning.debounce),
    ).unref();
  }

  /** Reads all lists at the configured interval from now on. */
  begin(): void {
    this.pause();
    const every = Math.min(this.#terms.options.refresh, maxTimerMs);
    this.#regular = setInterval(() => this.changed(listNames), every).unref();
  }

  /** Stops the regular readings until `begin`. */
  pause(): void {
    clearInterval(this.#regular);
    this.#regular = undefined;
  }

  /** Stops all readings for good. */
  end(): void {
    this.#ended = true;
    this.pause();
    this.stop();
  }

  /** Forgets the changes recorded so far. */
  stop(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    this.#changed.clear();
  }
}
