import { expect, test } from "bun:test";
import { common, createCoalescer } from "../../src/core/coalesce.ts";

const minute = 60_000_000;

function setUp(free: number) {
  let now = 0;
  const coalescer = createCoalescer<string>(free, { now: () => now, mono: () => now }, (a) => a);
  /** Returns how many of `times` occurrences were let through. */
  const take = (times: number, name = "x") =>
    Array.from({ length: times }, () => coalescer.take("who", "kind", () => name)).filter(Boolean).length;
  const nextMinute = () => {
    now += minute;
    return coalescer.due().map(({ all, count }) => `${all} ${count}`);
  };
  return { take, nextMinute };
}

test("a flood is counted for as long as it lasts, one record a minute", () => {
  const { take, nextMinute } = setUp(3);
  expect(take(10)).toBe(3);
  expect(nextMinute()).toEqual(["x 7"]);
  expect(take(10)).toBe(0);
  expect(nextMinute()).toEqual(["x 10"]);
});

test("a source that continues slowly after a burst is recorded one by one again", () => {
  const { take, nextMinute } = setUp(3);
  expect(take(10)).toBe(3);
  expect(nextMinute()).toEqual(["x 7"]);
  expect(take(1, "slow")).toBe(0);
  expect(nextMinute()).toEqual(["slow 1"]);
  expect(take(1, "slow")).toBe(1);
  expect(nextMinute()).toEqual([]);
});

test("T20: all keys beyond the first 10,000 share one window, which names none of them", () => {
  const coalescer = createCoalescer<{ who?: string; code?: string }>(1, { now: () => 0, mono: () => 0 }, common);
  const take = (who: string) => coalescer.take(who, "kind", () => ({ who, code: "no" }));
  const passed = Array.from({ length: 10_005 }, (_, key) => take(`k${key}`));
  expect(passed.filter(Boolean)).toHaveLength(10_001);
  expect(take("k7")).toBe(false);
  expect(coalescer.due(true)).toEqual([
    { all: { who: "k7", code: "no" }, count: 1, first: 0, last: 0 },
    { all: { code: "no" }, count: 4, first: 0, last: 0 },
  ]);
});

test("a count has the wall-clock times of its first and last occurrence", () => {
  let mono = 0;
  const coalescer = createCoalescer<string>(1, { now: () => 1_000 + mono, mono: () => mono }, (a) => a);
  const take = (at: number) => ((mono = at), coalescer.take("who", "kind", () => "x"));
  expect([0, 3, 5, 9].map(take)).toEqual([true, false, false, false]);
  mono = minute;
  expect(coalescer.due()).toEqual([{ all: "x", count: 3, first: 1_003, last: 1_009 }]);
});
