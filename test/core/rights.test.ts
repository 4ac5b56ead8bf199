import { expect, test } from "bun:test";
import { anyOf } from "../../src/core/rights.ts";

test("anyOf returns the same route each time and keeps at most 4096 of them", () => {
  const first = anyOf("tool", "first");
  expect(anyOf("tool", "first")).toBe(first);
  for (let at = 0; at < 4096; at++) anyOf("tool", `other${at}`);
  expect(anyOf("tool", "first")).not.toBe(first);
});
