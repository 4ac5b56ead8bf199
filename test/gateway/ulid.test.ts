import { expect, test } from "bun:test";
import { createUlid } from "../../src/gateway/ulid.ts";

const form = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

test("ulid: ids strictly ascend while the clock stands, steps back and moves on", () => {
  let ms = 1_795_248_000_000;
  const next = createUlid(() => ms);
  const ids: string[] = [];
  for (const step of [0, -5000, 1, 0, 60_000]) {
    ms += step;
    for (let i = 0; i < 2000; i += 1) ids.push(next());
  }
  expect(ids.every((id) => form.test(id))).toBe(true);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.toSorted()).toEqual(ids);
});

test("ulid: the first ten characters are the time of the specification's example", () => {
  expect(createUlid(() => 1_469_918_176_385)().slice(0, 10)).toBe("01ARYZ6S41");
});

test("ulid: two generators do not collide", () => {
  const all = new Set(Array.from({ length: 1000 }, () => createUlid(() => 1)()));
  expect(all.size).toBe(1000);
});
