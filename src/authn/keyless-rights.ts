import { isDeepStrictEqual } from "node:util";
import type { Loss } from "../core/principal.ts";

/** The signals that end what callers without a key have open. */
export class KeylessRights {
  /** Roles of anonymous callers; null if there are no such callers. */
  #anonymous: readonly string[] | null = null;
  #unlessFrozen = new AbortController();
  #unlessChanged = new AbortController();

  /** Aborts at the next freeze. */
  get unlessFrozen(): AbortSignal {
    return this.#unlessFrozen.signal;
  }

  /** Aborts at the next freeze, or when the roles of anonymous callers change. */
  get unlessChanged(): AbortSignal {
    return this.#unlessChanged.signal;
  }

  takeAnonymous(roles: readonly string[] | null): void {
    if (isDeepStrictEqual(roles, this.#anonymous)) return;
    this.#anonymous = roles;
    this.#unlessChanged.abort("dropped" satisfies Loss);
    if (!this.unlessFrozen.aborted) this.#unlessChanged = new AbortController();
  }

  freeze(): void {
    this.#unlessFrozen.abort("frozen" satisfies Loss);
    this.#unlessChanged.abort("frozen" satisfies Loss);
  }

  unfreeze(): void {
    // A signal that has not aborted stays in use: its holders must learn of the next freeze from it.
    if (!this.unlessFrozen.aborted) return;
    this.#unlessFrozen = new AbortController();
    this.#unlessChanged = new AbortController();
  }
}
