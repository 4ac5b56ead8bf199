import { Room } from "../../core/room.ts";
import { faults } from "../faults.ts";
import type { Purpose } from "../link/link.ts";

/** An answer of at most this many bytes is not counted: as many as there can be calls are no danger to the memory. */
export const mostUncounted = 64 * 1024;
/** Bytes of the other answers that are on their way, by server, in the whole process, for that is what has the memory. */
const arriving = new Room({ ofOne: 128 * 1024 ** 2, ofAll: 256 * 1024 ** 2 });

/**
 * The room that one answer takes while it arrives. Each call has a connection of its own, so without this a server could
 * have as many of the longest answers in memory as there are calls. An answer without room is refused at once: one that
 * waited would fill the memory below. Only answers to calls are counted: the gateway's own requests are few, and refusing
 * their answers would take a healthy server for a broken one.
 */
export class Arrival {
  readonly #server: string;
  readonly #longest: () => number;
  readonly #isCounted: boolean;
  #bytes = 0;

  constructor(server: string, longest: () => number, purpose: Purpose) {
    this.#server = server;
    this.#longest = longest;
    this.#isCounted = purpose.kind === "call";
  }

  /** So many bytes of the answer are to be held from now on; throws `upstream-overloaded` where there is no room. */
  hold(bytes: number): void {
    const counted = this.#isCounted && bytes > mostUncounted ? bytes : 0;
    const more = counted - this.#bytes;
    if (more === 0) return;
    const full = more > 0 ? arriving.whyFull(this.#server, more, this.#longest()) : null;
    if (full) throw faults.crowded(this.#server, full.of === "one" ? "it" : "all servers", full.most);
    arriving.add(this.#server, more);
    this.#bytes = counted;
  }

  /** Gives the room back. */
  end(): void {
    this.hold(0);
  }
}
