import { expect, test } from "bun:test";
import { createBoundedMap } from "../../src/core/bounded-map.ts";
import { stillClock } from "../support/principal.ts";

test("a bounded map evicts the least recently used entry and expired entries", () => {
  const clock = stillClock();
  const map = createBoundedMap<number>({ cap: 2, age: 2_000_000, clock });
  map.set("a", 1);
  map.set("b", 2);
  clock.advance(1_500);
  map.get("a");
  map.set("c", 3);
  expect(map.size).toBe(2);
  expect(map.get("b")).toBeUndefined();
  clock.advance(1_800);
  expect(map.get("a")).toBe(1);
  clock.advance(1_800);
  expect(map.get("a")).toBe(1);
  expect(map.get("c")).toBeUndefined();
  map.set("d", 4);
  expect(map.size).toBe(2);
});

test("a bounded map removes all expired entries when one is set", () => {
  const clock = stillClock();
  const map = createBoundedMap<number>({ cap: 8, age: 2_000_000, clock });
  map.set("a", 1);
  map.set("b", 2);
  clock.advance(1_500);
  map.set("c", 3);
  clock.advance(1_000);
  map.set("d", 4);
  expect(map.values()).toEqual([3, 4]);
});

test("a bounded map without an age evicts only entries beyond its cap", () => {
  const clock = stillClock();
  const map = createBoundedMap<number>({ cap: 2, clock });
  map.set("a", 1);
  map.set("b", 2);
  clock.advance(1e12);
  expect([map.get("a"), map.size]).toEqual([1, 2]);
  map.set("c", 3);
  expect([map.get("a"), map.get("b"), map.get("c")]).toEqual([1, undefined, 3]);
});
