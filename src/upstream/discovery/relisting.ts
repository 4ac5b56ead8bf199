import { type ListName, listNames } from "../../core/lists.ts";
import { longestTimer } from "../../core/wait.ts";
import type { Terms } from "../host.ts";

/** When the lists of a server are read again: soon after they changed, and regularly while the server runs. */
export class Relisting {
  readonly #terms: Terms;
  readonly #busy: () => boolean;
  readonly #read: (which: readonly ListName[]) => void;
  #changed = new Set<ListName>();
  #soon: Timer | null = null;
  #regular: Timer | null = null;

  /** `busy`: something else is done with the instance, so that reading has to wait. */
  constructor(terms: Terms, busy: () => boolean, read: (which: readonly ListName[]) => void) {
    this.#terms = terms;
    this.#busy = busy;
    this.#read = read;
  }

  /** Notes lists that may have changed; several within a short time are read together. */
  changed(which: Iterable<ListName>): void {
    for (const list of which) this.#changed.add(list);
    if (this.#changed.size > 0) this.#readSoon();
  }

  #readSoon(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = null;
      if (this.#busy()) return this.#readSoon();
      const which = [...this.#changed];
      this.#changed.clear();
      this.#read(which);
    }, this.#terms.host.tuning.debounce).unref();
  }

  /** Reads all lists at the configured interval from here on. */
  every(): void {
    this.rest();
    const every = Math.min(this.#terms.options.refresh, longestTimer);
    this.#regular = setInterval(() => this.changed(listNames), every).unref();
  }

  /** Reads no more regularly. */
  rest(): void {
    if (this.#regular) clearInterval(this.#regular);
    this.#regular = null;
  }

  /** Forgets what changed. */
  stop(): void {
    if (this.#soon) clearTimeout(this.#soon);
    this.#soon = null;
    this.#changed.clear();
  }
}
