import { expect, test } from "bun:test";
import { parseSince } from "../../src/control/since.ts";

const now = Date.UTC(2026, 2, 1, 12);

test.each([
  ["90s", now - 90_000],
  ["2h", now - 7_200_000],
  ["2026-01-31", Date.UTC(2026, 0, 31)],
  ["2026-01-31T08:00Z", Date.UTC(2026, 0, 31, 8)],
  ["2026-01-31T08:00:00.5+02:00", Date.UTC(2026, 0, 31, 6, 0, 0, 500)],
  ["yesterday", null],
  ["", null],
  ["12", null],
  ["2026-13-01", null],
  ["2027-02-31", null],
  ["2026-02-29T08:00Z", null],
  ["1e3", null],
])("%p", (text, ms) => {
  expect(parseSince(text, now)).toBe(ms === null ? null : ms * 1_000);
});
