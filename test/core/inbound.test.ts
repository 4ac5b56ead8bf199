import { expect, test } from "bun:test";
import { isAsSevere, logLevels } from "../../src/core/inbound.ts";

test.each([
  ["debug", "debug", true],
  ["info", "debug", true],
  ["info", "notice", false],
  ["emergency", "alert", true],
  ["alert", "emergency", false],
] as const)("a log message of level %s passes where %s is wanted: %p", (level, least, passes) => {
  expect(isAsSevere(level, least)).toBe(passes);
});

test.each(["", "shouting", "ERROR", 5, null, undefined])(
  "what is no level (%p) is severe enough for nobody",
  (level) => {
    expect(logLevels.filter((least) => isAsSevere(level, least))).toEqual([]);
  },
);
