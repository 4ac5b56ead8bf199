import { expect, test } from "bun:test";
import { Deadline } from "../../../src/upstream/link/deadline.ts";

const expiry = (idle: number, most: number) => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const before = performance.now();
  let expired = false;
  const deadline = new Deadline(idle, most, () => {
    expired = true;
    resolve(performance.now() - before);
  });
  return { deadline, took: promise, expired: () => expired };
};

test("T66: signs of life put off the end, but not beyond the cap", async () => {
  const { deadline, took } = expiry(40, 120);
  const timer = setInterval(() => deadline.touch(), 5);
  expect(await took).toBeGreaterThan(115);
  clearInterval(timer);
});

test("a pause counts neither as silence nor towards the cap", async () => {
  const { deadline, took, expired } = expiry(40, 60);
  deadline.pause();
  await expiry(120, 120).took;
  expect(expired()).toBe(false);
  deadline.resume();
  expect(await took).toBeGreaterThan(150);
});

test("what is stopped never ends, nor does what may take months end at once", async () => {
  const stopped = expiry(10, 10);
  stopped.deadline.stop();
  stopped.deadline.resume();
  const long = expiry(90 * 86_400_000, 900 * 86_400_000);
  await expiry(40, 40).took;
  expect([stopped.expired(), long.expired()]).toEqual([false, false]);
  long.deadline.stop();
});
