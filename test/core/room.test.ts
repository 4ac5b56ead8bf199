import { expect, test } from "bun:test";
import { Room } from "../../src/core/room.ts";

test("the bound of an owner is checked before the total, and released room is free again", () => {
  const room = new Room({ ofOne: 10, ofAll: 15 });
  room.add("a", 8);
  expect([room.exceededBound("a", 2, 1), room.exceededBound("a", 3, 1)]).toEqual([null, { of: "one", most: 10 }]);
  expect([room.exceededBound("b", 7, 1), room.exceededBound("b", 8, 1)]).toEqual([null, { of: "all", most: 15 }]);
  room.add("a", -8);
  expect(room.exceededBound("b", 10, 1)).toBeNull();
});

test("two items of the maximum length always fit", () => {
  const room = new Room({ ofOne: 10, ofAll: 15 });
  room.add("a", 20);
  expect([room.exceededBound("a", 20, 20), room.exceededBound("a", 21, 20)]).toEqual([null, { of: "one", most: 40 }]);
  expect(room.exceededBound("b", 21, 20)).toEqual({ of: "all", most: 40 });
});
