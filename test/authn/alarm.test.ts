import { afterEach, expect, jest, test } from "bun:test";
import { Alarm } from "../../src/authn/alarm.ts";
import { stillClock } from "../support/principal.ts";

afterEach(() => void jest.useRealTimers());

test("R23: an alarm uses one timer and checks the clock about once a second; it uses no timer when not set", () => {
  jest.useFakeTimers();
  const clock = stillClock();
  const now = clock.now() / 1000;
  let [looks, rings] = [0, 0];
  using alarm = new Alarm({ ...clock, now: () => (looks++, clock.now()) }, () => void rings++);
  for (const at of [7_200_000, 5_500, 3_600_000]) alarm.set(now + at);
  jest.advanceTimersByTime(10_000);
  expect([jest.getTimerCount(), rings]).toEqual([1, 0]);
  expect(looks).toBeLessThanOrEqual(30);
  alarm.set(now + 200);
  clock.advance(200);
  jest.advanceTimersByTime(200);
  expect([jest.getTimerCount(), rings]).toEqual([0, 1]);
  alarm.set(now + 7_200_000);
  alarm.set(Infinity);
  expect(jest.getTimerCount()).toBe(0);
});
