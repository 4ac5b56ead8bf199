import { expect, test } from "bun:test";
import { formatRate, parseRate, rateText } from "../../src/core/rate.ts";

test("a rate is formatted as it was written, for any fraction of a call per minute", () => {
  for (let calls = 0; calls <= 3_000; calls++) {
    const text = formatRate(calls / 60);
    // 120/h equals 2/m.
    expect(parseRate(text)).toBeCloseTo(calls / 60, 9);
    expect(text).toBe(calls % 60 === 0 ? `${calls / 60}/m` : `${calls}/h`);
  }
});

test.each([
  ["5/h", "5 calls an hour"],
  ["1/h", "1 call an hour"],
  ["1000/h", "1000 calls an hour"],
  ["1/m", "1 call a minute"],
  ["2/s", "120 calls a minute"],
])("%s reads %s in words", (written, words) => {
  expect(rateText(parseRate(written) ?? NaN)).toBe(words);
});
