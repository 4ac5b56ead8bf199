import type { Era } from "../../core/inbound.ts";
import type { ServerOptions } from "../options.ts";
import { factsOf, protocolOf } from "../transports/index.ts";
import type { SpokenEras } from "./first-contact.ts";

/** The eras that a server speaks: as it showed when it was last met, before that as it is configured. */
export class Eras {
  spoken: SpokenEras;
  /** Whether they are more than a guess. */
  known: boolean;
  #learning: Promise<void> | null = null;

  constructor(options: ServerOptions) {
    const protocol = protocolOf(options);
    const modern = protocol === "modern";
    this.spoken = { modern, legacy: !modern, sse: false };
    this.known = modern || (protocol === "legacy" && !factsOf(options).perRequest);
  }

  met(speaks: SpokenEras): void {
    this.spoken = speaks;
    this.known = true;
  }

  /**
   * The era in which a call is sent: its caller's if the server speaks it, since then nothing is lost; else the other.
   */
  eraFor(caller: Era): Era {
    const { modern, legacy } = this.spoken;
    if (caller === "modern") return modern ? "modern" : "legacy";
    return legacy ? "legacy" : "modern";
  }

  /**
   * Finds out whether a modern server speaks legacy too, which nobody needs to know before a legacy caller; null when
   * that is known.
   */
  learnLegacy(speaksLegacy: () => Promise<boolean>): Promise<void> | null {
    const before = this.spoken;
    if (before.legacy !== null) return null;
    return (this.#learning ??= speaksLegacy()
      .then((legacy) => {
        if (this.spoken === before) this.spoken = { ...before, legacy };
      })
      .finally(() => (this.#learning = null)));
  }
}
