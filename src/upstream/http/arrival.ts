import { Room } from "../../core/room.ts";
import { faults } from "../faults.ts";
import type { Purpose } from "../link/link.ts";

/** Maximum size of an answer that is not counted: as many as there can be calls do not endanger the memory. */
export const maxUncountedBytes = 64 * 1024;
/** Bytes of the other answers that are arriving, by server; process-wide, since memory is. */
const arriving = new Room({ ofOne: 128 * 1024 ** 2, ofAll: 256 * 1024 ** 2 });

/**
 * Returns the function that reserves room for one answer while it arrives: a total number of bytes, and 0 at its end.
 * The function throws `upstream-overloaded` if there is no room. Each call has a connection of its own, so without this
 * limit a server could hold as many answers of the maximum size in memory as there are calls. An answer without room is
 * refused immediately: waiting data would pile up in the layers below. Only answers to calls are counted: the gateway's
 * own requests are few, and refusing their answers would make a healthy server look broken.
 */
export function createArrival(server: string, longest: () => number, { kind }: Purpose): (bytes: number) => void {
  let held = 0;
  return (bytes) => {
    const counted = kind === "call" && bytes > maxUncountedBytes ? bytes : 0;
    const more = counted - held;
    if (more === 0) return;
    const full = more > 0 ? arriving.exceededBound(server, more, longest()) : null;
    if (full) throw faults.crowded(server, full.of === "one" ? "it" : "all servers", full.most);
    arriving.add(server, more);
    held = counted;
  };
}
