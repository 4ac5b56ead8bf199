import { expect, spyOn, test } from "bun:test";
import { timeRange } from "../../src/cli/when.ts";

test("an end without a beginning is taken, however early it is", () => {
  expect(timeRange(undefined, "1969-12-31")).toEqual({ since: undefined, until: "1970-01-01T00:00:00.000000Z" });
  expect(() => timeRange("1960-01-01", "1965-01-01")).not.toThrow();
});

test("both ends of a stretch of time are counted from the same moment", () => {
  let now = Date.now();
  using _clock = spyOn(Date, "now").mockImplementation(() => (now += 1));
  expect(() => timeRange("1h", "1h")).toThrow("--until 1h is not after --since 1h");
});
