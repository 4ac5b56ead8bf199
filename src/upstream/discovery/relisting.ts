import { type ListName, listNames } from "../../core/lists.ts";
import { longestTimer } from "../../core/clock.ts";
import type { Terms } from "../host.ts";

/** A reading that took the gateway so long is followed by a pause that is so many times as long. */
const pauses = 20;

/** How long after a reading that took the gateway `took` ms lists may be read again, ms. */
export const pauseAfter = (took: number, { host }: Terms): number => Math.max(host.tuning.debounce, took * pauses);

/** When the lists of a server are read again: soon after they changed, and regularly while the server runs. */
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

  /** `busy`: something else is done with the instance, so that reading has to wait. */
  constructor(terms: Terms, busy: () => boolean, read: (which: readonly ListName[]) => void) {
    this.#terms = terms;
    this.#busy = busy;
    this.#read = read;
  }

  /** Notes lists that may have changed; several within a short time are read together. */
  changed(which: Iterable<ListName>): void {
    if (this.#ended) return;
    for (const list of which) this.#changed.add(list);
    if (this.#changed.size > 0) this.#readSoon();
  }

  /**
   * The gateway was busy for so long with a reading that has ended, ms: lists that change all the time must not keep it
   * busy.
   */
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

  /** Reads all lists at the configured interval from here on. */
  begin(): void {
    this.pause();
    const every = Math.min(this.#terms.options.refresh, longestTimer);
    this.#regular = setInterval(() => this.changed(listNames), every).unref();
  }

  /** Reads no more regularly, until it begins again. */
  pause(): void {
    clearInterval(this.#regular);
    this.#regular = undefined;
  }

  /** Reads nothing any more, whatever begins or changes. */
  end(): void {
    this.#ended = true;
    this.pause();
    this.stop();
  }

  /** Forgets what changed. */
  stop(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    this.#changed.clear();
  }
}
