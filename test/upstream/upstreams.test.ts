import { expect, test } from "bun:test";
import { defaultTuning } from "../../src/upstream/upstreams.ts";

test("the default times, which tests shorten, have their intended values", () => {
  // For the start of a program that npx downloads first, the era of a silent server, and lists that change in quick
  // succession.
  expect(defaultTuning).toMatchObject({ start: 60_000, probe: 5_000, debounce: 250 });
});
