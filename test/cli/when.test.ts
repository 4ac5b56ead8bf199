import { expect, spyOn, test } from "bun:test";
import { futureTime, timeRange, wholeNumber } from "../../src/cli/when.ts";

test("--until without --since is accepted, however early it is", () => {
  expect(timeRange(undefined, "1969-12-31")).toEqual({ since: undefined, until: "1970-01-01T00:00:00.000000Z" });
  expect(() => timeRange("1960-01-01", "1965-01-01")).not.toThrow();
});

test("both ends of a time range are relative to the same moment", () => {
  let now = Date.now();
  using _clock = spyOn(Date, "now").mockImplementation(() => (now += 1));
  expect(() => timeRange("1h", "1h")).toThrow("--until 1h is not after --since 1h");
});

test("R23 a key expires after a duration or at a date, but not in the past or more than 100 years from now", () => {
  using _clock = spyOn(Date, "now").mockReturnValue(Date.UTC(2026, 0, 1));
  expect(futureTime("--expires", "90d")).toBe(Date.UTC(2026, 3, 1));
  expect(futureTime("--expires", "2026-01-02T00:00Z")).toBe(Date.UTC(2026, 0, 2));
  expect(futureTime("--expires", "2026-01-02T00:00:00.0009Z")).toBe(Date.UTC(2026, 0, 2));
  expect(futureTime("--expires", undefined)).toBeNull();
  expect(() => futureTime("--expires", "2026-01-01T00:00Z")).toThrow("is in the past");
  expect(() => futureTime("--expires", "2127-01-01")).toThrow("more than 100 years from now");
});

test("a whole number consists of digits and is between its minimum and maximum", () => {
  const read = (text: string): number | undefined => wholeNumber("--limit", text, 1, 100);
  expect([read("1"), read("100"), wholeNumber("--limit", undefined, 1, 100)]).toEqual([1, 100, undefined]);
  for (const text of ["0", "101", "1.5", "1e1", "0x1", " 1", "-1"])
    expect(() => read(text)).toThrow("not a whole number");
});
