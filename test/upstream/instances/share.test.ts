import { expect, test } from "bun:test";
import { endable, holdsMax, maxPerCaller } from "../../../src/upstream/instances/share.ts";

const held = (...owners: (string | null)[]) => owners.map((owner, usedAt) => ({ spec: { owner }, usedAt }));
const ownersOf = (slots: ReturnType<typeof held>) => slots.map(({ spec }) => spec.owner);

test("one caller may hold three quarters of the places; a shared instance belongs to nobody", () => {
  expect([2, 3].map((count) => holdsMax(held(...Array.from({ length: count }, () => "a")), "a", 4))).toEqual([
    false,
    true,
  ]);
  expect(holdsMax(held(null, null, null), null, 4)).toBe(false);
});

test("a caller that holds its maximum makes room only with its own instances, even if others have left", () => {
  const slots = held("b", "a", "a", "a");
  expect(ownersOf(endable(slots, "a", 4, () => true))).toEqual(["a", "a", "a"]);
});

test("no other caller's instance is ended for a caller that holds a fair share already", () => {
  const slots = held("a", "b", "b", "b", "c");
  expect(ownersOf(endable(slots, "a", 5, () => false))).toEqual(["a"]);
  expect(ownersOf(endable(slots, "d", 8, () => false))).toEqual(["b", "b", "b"]);
});

test("among a caller's instances, those it has left are ended before those of open sessions", () => {
  for (const max of [3, 4, 8]) {
    const order = endable(held("alice", "alice", "alice"), "alice", max, ({ usedAt }) => usedAt === 1);
    expect(order.map(({ usedAt }) => usedAt)).toEqual([1, 0, 2]);
  }
});

test("among callers that hold more than their share, the one that holds the most makes room first, whenever it last used its own", () => {
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
  expect(maxPerCaller(max)).toBe(most);
});
