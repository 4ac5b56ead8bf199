import { expect, test } from "bun:test";
import { heapStats } from "bun:jsc";
import fc from "fast-check";
import { createRing } from "../../../src/upstream/process/ring.ts";

test("the newest lines are kept, oldest first", () => {
  const ring = createRing(6);
  for (const line of ["aa", "bb", "cc", "dd"]) ring.push(line);
  expect(ring.last(10)).toEqual(["bb", "cc", "dd"]);
  expect(ring.last(1)).toEqual(["dd"]);
  ring.push("too long a line");
  expect(ring.last(10)).toEqual([]);
});

test("property: a ring holds the longest run of newest lines that fits", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 9 })), fc.integer({ min: 1, max: 40 }), (lines, max) => {
      const ring = createRing(max);
      for (const line of lines) ring.push(line);
      const kept = ring.last(lines.length);
      const size = (some: readonly string[]): number => some.join("").length;
      expect(size(kept)).toBeLessThanOrEqual(max);
      expect(kept).toEqual(lines.slice(lines.length - kept.length));
      const numbers = kept.map((_, index) => ring.oldest + index);
      expect(numbers.map((number) => ring.at(number))).toEqual(kept);
      expect([ring.pushed, ring.pushed - ring.oldest]).toEqual([lines.length, kept.length]);
      const more = lines.slice(lines.length - kept.length - 1);
      if (kept.length < lines.length) expect(size(more)).toBeGreaterThan(max);
    }),
  );
});

test("a ring uses constant memory, however many lines have passed through it", () => {
  const heap = (): number => (Bun.gc(true), heapStats().heapSize);
  const ring = createRing(1_000);
  ring.push("first");
  const before = heap();
  for (let i = 0; i < 500_000; i++) ring.push("a line");
  expect(heap() - before).toBeLessThan(1_000_000);
  expect(ring.last(1)).toEqual(["a line"]);
});
