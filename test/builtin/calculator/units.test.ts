import { expect, test } from "bun:test";
import { convert, dimensions } from "../../../src/builtin/calculator/units.ts";

test.each([
  ["1", "mi", "m", "1609.344", true],
  ["1", "in", "cm", "2.54", true],
  ["98.6", "F", "C", "37", true],
  ["-40", "C", "F", "-40", true],
  ["0", "K", "F", "-459.67", true],
  ["1", "lb", "kg", "0.45359237", true],
  ["1", "gal", "l", "3.785411784", true],
  ["36", "km/h", "m/s", "10", true],
  ["1", "kn", "km/h", "1.852", true],
  ["1", "GiB", "bit", "8589934592", true],
  ["1", "GB", "GiB", "0.9313225746", false],
  ["1", "psi", "Pa", "6894.757293", false],
  ["1", "week", "h", "168", true],
])("R129 %s %s in %s is %s, exact: %p", (value, from, to, result, exact) => {
  expect(convert(value, from, to, 10)).toMatchObject({ result, exact, from, to });
});

test("R129 every unit converts to every other of its dimension and back without loss", () => {
  for (const units of Object.values(dimensions)) {
    for (const from of Object.keys(units)) {
      for (const to of Object.keys(units)) {
        const there = convert("12.5", from, to, 200);
        expect([from, to, convert(there.result.slice(0, 900), to, from, 50).result]).toEqual([from, to, "12.5"]);
      }
    }
  }
});

test("R129 unit names belong to one dimension each", () => {
  const names = Object.values(dimensions).flatMap((units) => Object.keys(units));
  expect(new Set(names).size).toBe(names.length);
});

test("R129 wrong units are refused with help", () => {
  expect(() => convert("1", "kg", "m", 10)).toThrow("kg measures mass, m measures length");
  expect(() => convert("1", "kmh", "m", 10)).toThrow("unknown unit");
  expect(() => convert("1", "constructor", "m", 10)).toThrow("unknown unit");
  expect(() => convert("1", "mib", "kB", 10)).toThrow("did you mean MiB?");
});
