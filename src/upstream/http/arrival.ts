import { Counts } from "../../core/counts.ts";
import { faults } from "../faults.ts";
import type { Purpose } from "../link/link.ts";

/** An answer of at most this many bytes is not counted: as many as there can be calls are no danger to the memory. */
export const mostUncounted = 64 * 1024;
/** Most bytes of the other answers that may be on their way, of one server and of all; but room for two of the longest. */
const most = { ofOne: 128 * 1024 ** 2, ofAll: 256 * 1024 ** 2 };

/** What is on its way by server, in the whole process, for that is what has the memory. */
const arriving = new Counts();

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
    if (more > 0) this.#check(more);
    arriving.add(this.#server, more);
    this.#bytes = counted;
  }

  /** Gives the room back. */
  end(): void {
    this.hold(0);
  }

  #check(more: number): void {
    const server = this.#server;
    const room = (bytes: number): number => Math.max(bytes, 2 * this.#longest());
    if (arriving.of(server) + more > room(most.ofOne)) throw faults.crowded(server, "it", room(most.ofOne));
    if (arriving.total + more > room(most.ofAll)) throw faults.crowded(server, "all servers", room(most.ofAll));
  }
}
