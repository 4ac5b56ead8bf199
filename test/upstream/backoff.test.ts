import { expect, spyOn, test } from "bun:test";
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
  // A server that names no wait at all is not asked without end either.
  expect(new Backoff().next(0)).toBe(1);
});

test("what held for ten seconds is begun again at the first pace", () => {
  let at = 0;
  using _clock = spyOn(performance, "now").mockImplementation(() => at);
  const backoff = new Backoff();
  const after = (ms: number): number => {
    backoff.begin();
    at += ms;
    return backoff.next(10);
  };
  expect([after(0), after(10_000), after(10_001), after(0)]).toEqual([10, 20, 10, 20]);
});
