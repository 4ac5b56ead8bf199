import type { Era } from "../../core/inbound.ts";
import type { SpokenEras } from "../instances/first-contact.ts";
import type { ServerOptions } from "../options.ts";
import { factsOf } from "../transports/index.ts";

/** The eras that a server speaks: as it showed when it was last met, before that as it is configured. */
export class Eras {
  #spoken: SpokenEras;
  #known: boolean;
  #learning: Promise<void> | null = null;

  constructor(options: ServerOptions) {
    const { protocol } = options;
    const { legacyOnly, perRequest } = factsOf(options);
    this.#spoken = {
      modern: protocol === "modern" && !legacyOnly,
      legacy: protocol !== "modern" || legacyOnly,
      sse: false,
    };
    this.#known = legacyOnly || protocol === "modern" || (protocol === "legacy" && !perRequest);
  }

  get spoken(): SpokenEras {
    return this.#spoken;
  }

  /** Whether they are more than a guess. */
  get known(): boolean {
    return this.#known;
  }

  met(speaks: SpokenEras): void {
    this.#spoken = speaks;
    this.#known = true;
  }

  /** Finds out whether a modern server speaks legacy too, which nobody needs to know before a legacy caller; null when that is known. */
  learnLegacy(speaksLegacy: () => Promise<boolean>): Promise<void> | null {
    const before = this.#spoken;
    if (before.legacy !== null) return null;
    return (this.#learning ??= speaksLegacy()
      .then((legacy) => {
        if (this.#spoken === before) this.#spoken = { ...before, legacy };
      })
      .finally(() => (this.#learning = null)));
  }
}

/**
 * The era in which a call is sent: its caller's if the server speaks it, since then nothing is lost; else the other.
 */
export function eraFor(caller: Era, speaks: SpokenEras): Era {
  if (caller === "modern") return speaks.modern ? "modern" : "legacy";
  return speaks.legacy ? "legacy" : "modern";
}
