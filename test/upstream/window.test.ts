import { expect, test } from "bun:test";
import { createWindow } from "../../src/upstream/window.ts";

test("a window sums up the amounts within its length, and the next one begins at zero", () => {
  let time = 5;
  const add = createWindow(10, () => time);
  expect([add(), add(3)]).toEqual([1, 4]);
  time = 14;
  expect(add(2)).toBe(6);
  time = 15;
  expect(add()).toBe(1);
  time = 24;
  expect(add()).toBe(2);
  time = 100;
  expect(add(7)).toBe(7);
});
