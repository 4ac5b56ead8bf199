import { expect, test } from "bun:test";
import { stallDetector, lookEvery } from "../../src/core/clock.ts";
import { until } from "../support/until.ts";

test("a late timer counts as held up, but not twice in a row", () => {
  const isHeldUp = stallDetector(100);
  expect([100, 101, 101, 101, 0, 101].map(isHeldUp)).toEqual([false, true, false, true, false, true]);
});

test("after the process was stalled, the next call of lookEvery leaves time to read pending input", async () => {
  let looked = 0;
  const timer = lookEvery(300, () => void (looked = performance.now()));
  await until(() => looked > 0, "a look");
  // Stalls the whole process, including timers.
  Bun.sleepSync(900);
  const goesOn = performance.now();
  await until(() => looked > goesOn, "the next look");
  expect(looked - goesOn).toBeGreaterThan(200);
  clearInterval(timer);
});
