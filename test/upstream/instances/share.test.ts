import { expect, test } from "bun:test";
import { endable, holdsMost } from "../../../src/upstream/instances/share.ts";

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
