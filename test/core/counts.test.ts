import { expect, test } from "bun:test";
import { Counts } from "../../src/core/counts.ts";

test("counts are kept by owner and in all, and owners that have none are forgotten", () => {
  const counts = new Counts();
  counts.add("a");
  counts.add("a", 2);
  counts.add("b");
  expect([counts.of("a"), counts.of("b"), counts.of("c"), counts.total, counts.owners]).toEqual([3, 1, 0, 4, 2]);
  counts.add("a", -3);
  expect([counts.of("a"), counts.total, counts.owners]).toEqual([0, 1, 1]);
});

test("what an owner does not have cannot be taken away", () => {
  const counts = new Counts();
  counts.add("a", -1);
  counts.add("b");
  counts.add("b", -5);
  expect([counts.of("a"), counts.of("b"), counts.total, counts.owners]).toEqual([0, 0, 0, 0]);
});
