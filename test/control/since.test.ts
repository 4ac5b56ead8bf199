import { afterEach, expect, test } from "bun:test";
import { parseSince } from "../../src/control/since.ts";

const now = Date.UTC(2026, 2, 1, 12);
const zone = process.env["TZ"] ?? "UTC";

afterEach(() => {
  process.env["TZ"] = zone;
});

test.each([
  ["90s", now - 90_000],
  ["2h", now - 7_200_000],
  ["2026-01-31", Date.UTC(2026, 0, 31)],
  ["2026-01-31 08:00:05.123", Date.UTC(2026, 0, 31, 8, 0, 5, 123)],
  ["2026-01-31T08:00Z", Date.UTC(2026, 0, 31, 8)],
  ["2026-01-31T08:00:00.5+02:00", Date.UTC(2026, 0, 31, 6, 0, 0, 500)],
  ["2026-01-31T08:00:00.123456Z", Date.UTC(2026, 0, 31, 8, 0, 0, 123) + 0.456],
  ["2026-01-31 08:00:00.0004567", Date.UTC(2026, 0, 31, 8) + 0.456],
  ["2026-01-31T08:00:00.1234+00:00", Date.UTC(2026, 0, 31, 8, 0, 0, 123) + 0.4],
  ["yesterday", null],
  ["", null],
  ["12", null],
  ["2026-13-01", null],
  ["2026-01-31 ", null],
  ["2026-01-31T08:00 Z", null],
  ["2027-02-31", null],
  ["2026-02-29T08:00Z", null],
  ["1e3", null],
])("%p", (text, ms) => {
  expect(parseSince(text, now)).toBe(ms === null ? null : Math.round(ms * 1_000));
});

test.each([
  ["Pacific/Kiritimati", -14],
  ["America/Los_Angeles", 8],
])("R8 in time zone %s, dates and times without an offset are local", (place, hours) => {
  process.env["TZ"] = place;
  const midnight = Date.UTC(2026, 0, 31, hours) * 1_000;
  expect(parseSince("2026-01-31", now)).toBe(midnight);
  expect(parseSince("2026-01-31 00:00:00", now)).toBe(midnight);
  expect(parseSince("2026-01-31T00:00Z", now)).toBe(Date.UTC(2026, 0, 31) * 1_000);
});
