import { expect, test } from "bun:test";
import { endable, holdsMost, mostOfOne } from "../../../src/upstream/instances/share.ts";

const held = (...owners: (string | null)[]) => owners.map((owner, usedAt) => ({ spec: { owner }, usedAt }));
const ownersOf = (slots: ReturnType<typeof held>) => slots.map(({ spec }) => spec.owner);

test("one caller may hold three quarters of the places; what all share is nobody's", () => {
  expect([2, 3].map((count) => holdsMost(held(...Array.from({ length: count }, () => "a")), "a", 4))).toEqual([
    false,
    true,
  ]);
  expect(holdsMost(held(null, null, null), null, 4)).toBe(false);
});

test("who holds as many as one may makes room with its own only, also where others have left", () => {
  const slots = held("b", "a", "a", "a");
  expect(ownersOf(endable(slots, "a", 4, () => true))).toEqual(["a", "a", "a"]);
});

test("nobody's instance is ended for one who holds a fair share already", () => {
  const slots = held("a", "b", "b", "b", "c");
  expect(ownersOf(endable(slots, "a", 5, () => false))).toEqual(["a"]);
  expect(ownersOf(endable(slots, "d", 8, () => false))).toEqual(["b", "b", "b"]);
});

test("of the instances of one caller those that are left give way before those of open sessions", () => {
  for (const max of [3, 4, 8]) {
    const order = endable(held("alice", "alice", "alice"), "alice", max, ({ usedAt }) => usedAt === 1);
    expect(order.map(({ usedAt }) => usedAt)).toEqual([1, 0, 2]);
  }
});

test("of callers who hold more than their share, who holds most makes room first, whoever used theirs last", () => {
  const slots = held("carol", "carol", "carol", "alice", "alice", "alice", "alice", "alice");
  const order = endable(slots, "bob", slots.length, () => false).map(({ usedAt }) => usedAt);
  expect(order).toEqual([3, 4, 5, 6, 7, 0, 1, 2]);
});

test.each([
  [1, 1],
  [2, 2],
  [3, 3],
  [4, 3],
  [16, 12],
])("of %i instances one caller may have %i", (max, most) => {
  expect(mostOfOne(max)).toBe(most);
});
