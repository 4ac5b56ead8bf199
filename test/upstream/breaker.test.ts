import { expect, test } from "bun:test";
import { createBreaker, defaultBreaker } from "../../src/upstream/breaker.ts";

function breaker(random = () => 0) {
  let mono = 0;
  const it = createBreaker(defaultBreaker, () => mono, random);
  return { it, pass: (ms: number) => (mono += ms * 1000) };
}

test("R113: the wait doubles, and five failures within a minute open the circuit", () => {
  const { it, pass } = breaker();
  const waits = Array.from({ length: 5 }, () => {
    const { wait, open, opened } = it.failed();
    pass(wait);
    return [wait, open, opened];
  });
  expect(waits).toEqual([
    [1_000, false, false],
    [2_000, false, false],
    [4_000, false, false],
    [8_000, false, false],
    [60_000, true, true],
  ]);
});

test("slow failures reach the maximum wait without opening the circuit", () => {
  const { it, pass } = breaker();
  const waits: number[] = [];
  for (let i = 0; i < 8; i++) {
    const { wait, open } = it.failed();
    expect(open).toBe(false);
    waits.push(wait);
    pass(wait + 20_000);
  }
  expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
});

test("a failed attempt on an open circuit opens it again at once; a minute without failures closes it", () => {
  const { it, pass } = breaker();
  for (let i = 0; i < 5; i++) it.failed();
  expect(it.wait()).toBe(60_000);
  pass(60_000);
  expect(it.wait()).toBe(0);
  expect(it.failed()).toEqual({ wait: 60_000, open: true, opened: false });
  pass(60_000 + 60_001);
  expect(it.failed()).toEqual({ wait: 1_000, open: false, opened: false });
});

test("jitter lengthens a wait by at most a fifth, and a reset clears it", () => {
  const { it } = breaker(() => 0.999999);
  const { wait } = it.failed();
  expect(wait).toBeGreaterThan(1_199);
  expect(wait).toBeLessThan(1_200);
  it.reset();
  expect(it.wait()).toBe(0);
});
