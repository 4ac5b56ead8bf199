import { expect, test } from "bun:test";
import { Backoff } from "../../src/upstream/backoff.ts";

test("what does not hold is begun again ever more slowly, at the pace that the server named, within bounds", () => {
  const backoff = new Backoff();
  const pauses = (retry: number | null, times: number): number[] =>
    Array.from({ length: times }, () => {
      backoff.begin();
      return backoff.next(retry);
    });
  expect(pauses(10, 3)).toEqual([10, 20, 40]);
  expect(pauses(null, 2)).toEqual([8_000, 16_000]);
  expect(pauses(null, 2_000).at(-1)).toBe(30_000);
});
