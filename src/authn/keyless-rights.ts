import { isDeepStrictEqual } from "node:util";
import type { Loss } from "../core/principal.ts";

/** How long callers without a key keep their rights: what these signals end is theirs. */
export class KeylessRights {
  /** Roles of anonymous callers; null where there are none. */
  #anonymous: readonly string[] | null = null;
  #unlessFrozen = new AbortController();
  #unlessChanged = new AbortController();

  /** Aborts with the next freeze. */
  get unlessFrozen(): AbortSignal {
    return this.#unlessFrozen.signal;
  }

  /** The same, and ends when the roles of anonymous callers change. */
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
    // Whoever holds a signal that has not ended must hear of the next freeze by it.
    if (!this.unlessFrozen.aborted) return;
    this.#unlessFrozen = new AbortController();
    this.#unlessChanged = new AbortController();
  }
}
