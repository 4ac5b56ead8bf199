import { expect, test } from "bun:test";
import { formatRate, parseRate, rateText } from "../../src/core/rate.ts";

test("a rate is told as it was written, whatever fraction of a call a minute it is", () => {
  for (let calls = 0; calls <= 3_000; calls++) {
    const text = formatRate(calls / 60);
    // 120/h are 2/m.
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
])("%s reads %s", (written, words) => {
  expect(rateText(parseRate(written) ?? NaN)).toBe(words);
});
