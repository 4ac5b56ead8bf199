import type { Clock } from "../core/clock.ts";

const toleranceUs = 2_000_000;

/** Notices when the wall clock is set. `step` returns by how many µs since the last call, null if it was not set. */
export function createClockWatch(clock: Clock): { step(): number | null } {
  let offset = clock.now() - clock.mono();
  return {
    step() {
      const moved = clock.now() - clock.mono() - offset;
      if (Math.abs(moved) < toleranceUs) return null;
      offset += moved;
      return moved;
    },
  };
}
