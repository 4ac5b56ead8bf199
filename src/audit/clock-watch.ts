import type { Clock } from "../core/clock.ts";

const toleranceUs = 2_000_000;

/** Notices that the wall clock was set; `step` yields by how many µs since it was last asked, null when it was not. */
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
