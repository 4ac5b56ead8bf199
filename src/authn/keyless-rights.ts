import { isDeepStrictEqual } from "node:util";
import type { Loss } from "../core/principal.ts";

/** The signals that end what callers without a key have open. */
export class KeylessSignals {
  /** Roles of anonymous callers; null if there are no such callers. */
  #anonymous: readonly string[] | null = null;
  #frozenSignal = new AbortController();
  #changedSignal = new AbortController();

  /** Aborts at the next freeze. */
  get frozenSignal(): AbortSignal {
    return this.#frozenSignal.signal;
  }

  /** Aborts at the next freeze, or when the roles of anonymous callers change. */
  get changedSignal(): AbortSignal {
    return this.#changedSignal.signal;
  }

  takeAnonymous(roles: readonly string[] | null): void {
    if (isDeepStrictEqual(roles, this.#anonymous)) return;
    this.#anonymous = roles;
    this.#changedSignal.abort("dropped" satisfies Loss);
    if (!this.frozenSignal.aborted) this.#changedSignal = new AbortController();
  }

  freeze(): void {
    this.#frozenSignal.abort("frozen" satisfies Loss);
    this.#changedSignal.abort("frozen" satisfies Loss);
  }

  unfreeze(): void {
    // A signal that has not aborted stays in use: its holders must learn of the next freeze from it.
    if (!this.frozenSignal.aborted) return;
    this.#frozenSignal = new AbortController();
    this.#changedSignal = new AbortController();
  }
}
