import { expect, test } from "bun:test";
import { usualTuning } from "../../src/upstream/upstreams.ts";

test("the times that tests shorten are those of use", () => {
  // The beginning of a program that npx fetches first, a silent server's era, and lists that change in a row.
  expect(usualTuning).toMatchObject({ start: 60_000, probe: 5_000, debounce: 250 });
});
