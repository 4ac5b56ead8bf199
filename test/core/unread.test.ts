import { expect, test } from "bun:test";
import { Unread } from "../../src/core/unread.ts";

test("T27: a principal's connections with the most unread data are dropped until the rest is within the limit", () => {
  const told: unknown[] = [];
  const unread = new Unread((...what) => void told.push(what));
  const dropped: number[] = [];
  const leave = [5, 30, 20, 1, 40].map((bytes) =>
    unread.add("key:a", { queued: () => bytes, drop: () => void dropped.push(bytes) }),
  );
  unread.add("key:b", { queued: () => 1_000, drop: () => void dropped.push(1_000) });
  unread.bound("key:a", 96);
  expect(dropped).toEqual([]);
  unread.bound("key:a", 30);
  expect(dropped).toEqual([40, 30]);
  expect(told).toEqual([
    ["key:a", 40],
    ["key:a", 30],
  ]);
  for (const gone of [1, 4]) leave[gone]?.();
  unread.bound("key:a", 26);
  unread.bound("key:c", 0);
  expect(dropped).toEqual([40, 30]);
});

test("T27: removing a connection twice does not remove one that was added later", () => {
  const unread = new Unread(() => {});
  const dropped: string[] = [];
  const add = (name: string) => unread.add("key:a", { queued: () => 9, drop: () => void dropped.push(name) });
  const leave = add("first");
  leave();
  add("second");
  leave();
  unread.bound("key:a", 1);
  expect(dropped).toEqual(["second"]);
});
