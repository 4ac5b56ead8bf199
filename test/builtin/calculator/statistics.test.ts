import { expect, test } from "bun:test";
import { describe } from "../../../src/builtin/calculator/statistics.ts";

test("R129 statistics of a small list", () => {
  expect(describe(["4", 1, "2", "4", "3.0"], 10)).toEqual({
    count: 5,
    sum: "14",
    mean: "2.8",
    median: "3",
    mode: ["4"],
    min: "1",
    max: "4",
    variance: "1.7",
    stdev: "1.303840481",
    populationVariance: "1.36",
    populationStdev: "1.166190379",
  });
});

test("R129 one value has no sample variance; the median of an even count is the mean of the middle two", () => {
  expect(describe(["5"], 28)).toMatchObject({ variance: null, stdev: null, populationVariance: "0", mode: [] });
  expect(describe(["1", "2", "10", "4"], 28)).toMatchObject({ median: "3", mode: [] });
  expect(describe(["1", "1", "2", "2.0", "3"], 28).mode).toEqual(["1", "2"]);
});

test("R129 no digit is lost to cancellation", () => {
  expect(describe(["1e40", "1", "-1e40"], 5)).toMatchObject({ sum: "1", mean: "0.33333" });
  expect(describe(["1e20", "100000000000000000001", "100000000000000000002"], 5)).toMatchObject({
    variance: "1",
    stdev: "1",
  });
});

test("R129 a value just below a midpoint is rounded down, and a deviation is not computed from a rounded variance", () => {
  expect(describe(["3.4999999999999999"], 1)).toMatchObject({ sum: "3", mean: "3", median: "3" });
  // The square of their difference is slightly less than 7.
  expect(describe(["0", "2.6457513110645905"], 1)).toMatchObject({ variance: "3" });
  expect(describe(["0", "5.2915026221291810"], 1)).toMatchObject({ populationVariance: "7" });
  expect(describe(["0", "1", "4"], 1)).toMatchObject({ variance: "4", stdev: "2" });
});

test("R129 a deviation next to a midpoint is rounded once, and the midpoint itself to even", () => {
  const deviation = (value: string): string => describe(["0", value], 1).populationStdev;
  expect(deviation(`5.${"0".repeat(30)}1`)).toBe("3");
  expect(deviation(`4.${"9".repeat(30)}`)).toBe("2");
  expect([deviation("5"), deviation("7")]).toEqual(["2", "4"]);
  // 7.5 divided by the square root of 2 would be the midpoint itself.
  const beside = (digits: string): string => describe(["0", "0", digits], 1).populationStdev;
  expect(beside("5.3033008588991064330063327157863677946362")).toBe("2");
  expect(beside("5.3033008588991064330063327157863677946363")).toBe("3");
});

test("R129 the maximum number of values and digits finishes quickly", () => {
  // The runner's timeout of 5 s is the limit.
  const { count } = describe(
    Array.from({ length: 1000 }, (_, n) => `${"9".repeat(90)}e${n * 2 - 1000}`),
    1000,
  );
  expect(count).toBe(1000);
});
