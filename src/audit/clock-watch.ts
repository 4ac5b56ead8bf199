import type { Clock } from "../core/clock.ts";

/** By how much a clock may be off before it counts as set, µs. */
export const clockTolerance = 2_000_000;

/** Notices when the wall clock is set: tells by how many µs since it was asked last, null if it was not set. */
export function createClockWatch(clock: Clock): () => number | null {
  let offset = clock.now() - clock.mono();
  return () => {
    const moved = clock.now() - clock.mono() - offset;
    if (Math.abs(moved) < clockTolerance) return null;
    offset += moved;
    return moved;
  };
}
