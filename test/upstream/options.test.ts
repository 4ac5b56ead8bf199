import { expect, test } from "bun:test";
import { maxCallTime, stdioOptions } from "../../src/upstream/options.ts";
import { fake } from "../support/upstream.ts";

test("signs of life extend a call to ten times its timeout or to the configured maximum, but never shorten it", () => {
  const most = (maxTimeout?: string) =>
    maxCallTime(fake("a", [], { timeout: "30s", ...(maxTimeout && { maxTimeout }) }));
  expect([most(), most("45s"), most("1s")]).toEqual([300_000, 45_000, 30_000]);
});

test("R111 R112: intervals below five seconds are refused", () => {
  for (const name of ["healthCheck", "refresh"]) {
    const given = (ms: number) => stdioOptions.safeParse({ id: "a", command: "x", [name]: `${ms}ms` }).error?.message;
    expect([given(5_000), given(4_999)]).toEqual([undefined, expect.stringContaining("the minimum interval is 5s")]);
  }
});
