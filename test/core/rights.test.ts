import { expect, test } from "bun:test";
import { anyOf } from "../../src/core/rights.ts";

test("what stands for all of a server is the same route each time, and no more than so many are kept", () => {
  const first = anyOf("tool", "first");
  expect(anyOf("tool", "first")).toBe(first);
  for (let at = 0; at < 4096; at++) anyOf("tool", `other${at}`);
  expect(anyOf("tool", "first")).not.toBe(first);
});
