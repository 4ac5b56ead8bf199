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
  ["100000000.25", "m", "m", "100000000.2", false],
])("R129 %s %s in %s is %s, exact: %p", (value, from, to, result, exact) => {
  expect(convert(value, from, to, 10)).toMatchObject({ result, exact, from, to });
});

/** The definition of each unit, in units that are defined before it. */
const definitions = `
  1 m = 1000 mm, 1 cm = 10 mm, 1 km = 1000 m, 1 mm = 1000 um, 1 um = 1000 nm, 1 in = 2.54 cm, 1 ft = 12 in, 1 yd = 3 ft,
  1 mi = 5280 ft, 1 nmi = 1852 m, 1 m2 = 10000 cm2, 1 ha = 10000 m2, 1 km2 = 100 ha, 1 in2 = 6.4516 cm2, 1 ft2 = 144 in2,
  1 acre = 43560 ft2, 1 mi2 = 640 acre, 1 m3 = 1000 l, 1 l = 1000 ml, 1 ml = 1 cm3, 1 in3 = 16.387064 cm3,
  1 ft3 = 1728 in3, 1 gal = 231 in3, 1 gal = 4 qt, 1 qt = 2 pt, 1 pt = 2 cup, 1 cup = 8 floz, 1 imperial_gal = 4.54609 l,
  1 imperial_gal = 8 imperial_pt, 1 t = 1000 kg, 1 kg = 1000 g, 1 g = 1000 mg, 1 mg = 1000 ug, 1 lb = 453.59237 g,
  1 lb = 16 oz, 1 st = 14 lb, 1 short_ton = 2000 lb, 1 s = 1000 ms, 1 ms = 1000 us, 1 us = 1000 ns, 1 min = 60 s,
  1 h = 60 min, 1 d = 24 h, 1 week = 7 d, 0 C = 273.15 K, 100 C = 212 F, 0 F = 459.67 R, 1 B = 8 bit, 1 kbit = 1000 bit,
  1 Mbit = 1000 kbit, 1 Gbit = 1000 Mbit, 1 kB = 1000 B, 1 MB = 1000 kB, 1 GB = 1000 MB, 1 TB = 1000 GB, 1 PB = 1000 TB,
  1 KiB = 1024 B, 1 MiB = 1024 KiB, 1 GiB = 1024 MiB, 1 TiB = 1024 GiB, 1 PiB = 1024 TiB, 1 m/s = 3.6 km/h,
  1 ft/s = 0.3048 m/s, 1 mph = 1.609344 km/h, 1 kn = 1.852 km/h, 1 kJ = 1000 J, 1 cal = 4.184 J, 1 kcal = 1000 cal,
  1 Wh = 3.6 kJ, 1 kWh = 1000 Wh, 1 Btu = 1055.05585262 J, 1 kPa = 1000 Pa, 1 bar = 100 kPa, 1 atm = 101325 Pa,
  1 atm = 760 Torr, 0.00064516 psi = 4.4482216152605 Pa`;

test("R129 every unit matches its definition", () => {
  const defined = definitions.split(",").map((one) => one.trim().split(/ (?:= )?/));
  for (const [value = "", from = "", result, to = ""] of defined)
    expect([from, convert(value, from, to, 40)]).toEqual([from, expect.objectContaining({ result, exact: true })]);
  const known = Object.values(dimensions).flatMap((units) => Object.keys(units));
  expect(known.filter((unit) => !defined.flat().includes(unit))).toEqual([]);
});

test("R129 every unit converts to every other unit of its dimension and back without loss", () => {
  for (const units of Object.values(dimensions)) {
    for (const from of Object.keys(units)) {
      for (const to of Object.keys(units)) {
        const there = convert("12.5", from, to, 200);
        expect([from, to, convert(there.result.slice(0, 900), to, from, 50).result]).toEqual([from, to, "12.5"]);
      }
    }
  }
});

test("R129 each unit name belongs to only one dimension", () => {
  const names = Object.values(dimensions).flatMap((units) => Object.keys(units));
  expect(new Set(names).size).toBe(names.length);
});

test("R129 unknown and mismatched units are refused with a suggestion", () => {
  expect(() => convert("1", "kg", "m", 10)).toThrow("cannot convert kg, a unit of mass, to m, a unit of length");
  expect(() => convert("1", "kmh", "m", 10)).toThrow("unknown unit");
  expect(() => convert("1", "constructor", "m", 10)).toThrow("unknown unit");
  expect(() => convert("1", "mib", "kB", 10)).toThrow("did you mean MiB?");
});
