import { expect, test } from "bun:test";
import { createClockWatch } from "../../src/audit/clock-watch.ts";

test("T09: a clock set by two seconds or more, in either direction, is detected once; a slewed one is not", () => {
  let [wall, mono] = [1_700_000_000_000_000, 0];
  const moved = createClockWatch({ now: () => wall, mono: () => mono });
  const pass = (us: number, set: number): number | null => {
    mono += us;
    wall += us + set;
    return moved();
  };
  expect(pass(60_000_000, 0)).toBeNull();
  expect(pass(1_000_000, 1_999_999)).toBeNull();
  expect(pass(1_000_000, 1)).toBe(2_000_000);
  expect(pass(1_000_000, 0)).toBeNull();
  expect(pass(1_000_000, -2_000_000)).toBe(-2_000_000);
  expect(pass(1_000_000, 0)).toBeNull();
});
