import { Room } from "../../core/room.ts";
import { faults } from "../faults.ts";
import type { Purpose } from "../link/link.ts";

/** An answer of at most this many bytes is not counted: as many as there can be calls are no danger to the memory. */
export const mostUncounted = 64 * 1024;
/**
 * Bytes of the other answers that are on their way, by server, in the whole process, for that is what has the memory.
 */
const arriving = new Room({ ofOne: 128 * 1024 ** 2, ofAll: 256 * 1024 ** 2 });

/**
 * Makes the function that takes room for one answer while it arrives: for so many bytes in all, and none at its end. It
 * throws `upstream-overloaded` where there is no room for more. Each call has a connection of its own, so without this
 * a server could have as many of the longest answers in memory as there are calls. An answer without room is refused at
 * once: one that waited would fill the memory below. Only answers to calls are counted: the gateway's own requests are
 * few, and refusing their answers would take a healthy server for a broken one.
 */
export function createArrival(server: string, longest: () => number, { kind }: Purpose): (bytes: number) => void {
  let held = 0;
  return (bytes) => {
    const counted = kind === "call" && bytes > mostUncounted ? bytes : 0;
    const more = counted - held;
    if (more === 0) return;
    const full = more > 0 ? arriving.whyFull(server, more, longest()) : null;
    if (full) throw faults.crowded(server, full.of === "one" ? "it" : "all servers", full.most);
    arriving.add(server, more);
    held = counted;
  };
}
