import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { Deadline } from "../../../src/upstream/link/deadline.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

const expiry = (idle: number, most: number) => {
  let expired = false;
  const deadline = new Deadline(idle, most, () => void (expired = true));
  return { deadline, expired: () => expired };
};

/** Expects the end after this time; timers count whole milliseconds, so it may come slightly early. */
function endsAfter(ms: number, { expired }: ReturnType<typeof expiry>): void {
  const early = 2;
  jest.advanceTimersByTime(ms - early);
  expect(expired()).toBe(false);
  jest.advanceTimersByTime(early);
  expect(expired()).toBe(true);
}

test("FIELD T66: signs of life postpone the end, but not beyond the total limit", () => {
  const it = expiry(40, 120);
  for (let ms = 0; ms < 115; ms += 5) {
    jest.advanceTimersByTime(5);
    it.deadline.touch();
  }
  endsAfter(5, it);
});

test("FIELD T66: silence ends a request before the total limit", () => {
  const it = expiry(40, 120);
  jest.advanceTimersByTime(20);
  it.deadline.touch();
  endsAfter(40, it);
});

test("a pause counts neither as silence nor toward the total limit", () => {
  const it = expiry(40, 60);
  jest.advanceTimersByTime(10);
  it.deadline.pause();
  jest.advanceTimersByTime(120);
  it.deadline.resume();
  endsAfter(40, it);
});

test("a stopped deadline never expires, and one of several months does not expire immediately", () => {
  const day = 86_400_000;
  const stopped = expiry(10, 10);
  stopped.deadline.stop();
  stopped.deadline.resume();
  const long = expiry(90 * day, 900 * day);
  for (let days = 1; days < 90; days++) jest.advanceTimersByTime(day);
  expect([stopped.expired(), long.expired()]).toEqual([false, false]);
  jest.advanceTimersByTime(day);
  expect([stopped.expired(), long.expired()]).toEqual([false, true]);
});
