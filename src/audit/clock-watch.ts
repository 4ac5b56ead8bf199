import type { Clock } from "../core/clock.ts";

/** Deviation from which on a clock counts as having been set, µs. */
export const clockTolerance = 2_000_000;

/** Detects that the wall clock was set: returns by how many µs since the last call, or null if it was not. */
export function createClockWatch(clock: Clock): () => number | null {
  let offset = clock.now() - clock.mono();
  return () => {
    const moved = clock.now() - clock.mono() - offset;
    if (Math.abs(moved) < clockTolerance) return null;
    offset += moved;
    return moved;
  };
}
