import { expect, test } from "bun:test";
import { memoize } from "../../src/core/memoize.ts";

test("a value, even null, is computed once per object, and again for an equal object", () => {
  let made = 0;
  const lengthOf = memoize((list: readonly string[]) => (made++, list.length || null));
  const [full, empty] = [["a"], []];
  expect([full, empty, full, empty, ["a"]].map(lengthOf)).toEqual([1, null, 1, null, 1]);
  expect(made).toBe(3);
});
