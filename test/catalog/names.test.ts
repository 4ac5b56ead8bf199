import { expect, test } from "bun:test";
import { clashes } from "../../src/catalog/names.ts";

test("S23: each of a server's look-alike names is examined only a few times, however many there are", () => {
  let looks = 0;
  const all = Array.from({ length: 1_000 }, (_, at) => ({
    get canonical() {
      looks++;
      return `evil:pay${"\u200b".repeat(at)}`;
    },
  }));
  const found = clashes(all, () => "pay");
  expect(found).toHaveLength(all.length);
  expect(looks).toBeLessThan(10 * all.length);
});

test("an item that cannot be distinguished is reported with up to three others, and whether they belong to several servers", () => {
  const named = (...names: string[]) => names.map((canonical) => ({ canonical }));
  const told = (...names: string[]) =>
    clashes(named(...names), () => "").map(({ others, ofSeveral }) => [others, ofSeveral]);
  expect(told("a:x")).toEqual([]);
  expect(told("a:x", "b:x")).toEqual([
    ["b:x", true],
    ["a:x", true],
  ]);
  expect(told("a:x", "a:x")).toEqual(Array(2).fill(["another entry of the same server", false]));
  expect(told("a:1", "a:2", "a:3", "a:4", "a:5").at(0)).toEqual(["a:2, a:3, a:4", false]);
  expect(told("a:1", "a:2", "a:3", "a:4", "a:5").at(-1)).toEqual(["a:1, a:2, a:3", false]);
});
