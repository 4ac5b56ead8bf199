import { expect, test } from "bun:test";
import { Counts } from "../../src/core/counts.ts";

test("counts are kept per owner and in total, and owners at zero are forgotten", () => {
  const counts = new Counts();
  counts.add("a");
  counts.add("a", 2);
  counts.add("b");
  expect([counts.of("a"), counts.of("b"), counts.of("c"), counts.total, counts.owners]).toEqual([3, 1, 0, 4, 2]);
  counts.add("a", -3);
  expect([counts.of("a"), counts.total, counts.owners]).toEqual([0, 1, 1]);
});

test("a count never goes below zero", () => {
  const counts = new Counts();
  counts.add("a", -1);
  counts.add("b");
  counts.add("b", -5);
  expect([counts.of("a"), counts.of("b"), counts.total, counts.owners]).toEqual([0, 0, 0, 0]);
});
