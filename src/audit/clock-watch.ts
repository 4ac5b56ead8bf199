import type { Clock } from "../core/clock.ts";

const toleranceUs = 2_000_000;

/** Notices when the wall clock is set: tells by how many µs since it was asked last, null if it was not set. */
export function createClockWatch(clock: Clock): () => number | null {
  let offset = clock.now() - clock.mono();
  return () => {
    const moved = clock.now() - clock.mono() - offset;
    if (Math.abs(moved) < toleranceUs) return null;
    offset += moved;
    return moved;
  };
}
