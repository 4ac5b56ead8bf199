import { expect, spyOn, test } from "bun:test";
import { Backoff } from "../../src/upstream/backoff.ts";

test("a stream that does not last is reopened after growing pauses, based on the server's retry time, within bounds", () => {
  const backoff = new Backoff();
  const pauses = (retry: number | null, times: number): number[] =>
    Array.from({ length: times }, () => {
      backoff.begin();
      return backoff.next(retry);
    });
  expect(pauses(10, 3)).toEqual([10, 20, 40]);
  expect(pauses(null, 2)).toEqual([8_000, 16_000]);
  expect(pauses(null, 2_000).at(-1)).toBe(30_000);
  // A server that names a wait of 0 is not asked in a tight loop either.
  expect(new Backoff().next(0)).toBe(1);
});

test("a stream that lasted ten seconds is reopened after the first pause again", () => {
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
