import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { fastest } from "../support/fastest.ts";
import { suspendProcess } from "../support/stand-still.ts";
import { object, prop, setUp } from "../support/validator.ts";

setDefaultTimeout(30_000);

describe("checks that would take forever are refused", () => {
  const loop = object({ allOf: [{ $ref: "#" }] });
  const doubling = object({
    properties: { a: { anyOf: [{ $ref: "#" }, { $ref: "#" }] } },
  });
  const nested = (levels: number): unknown => (levels === 0 ? 1 : { a: nested(levels - 1) });
  test.each([
    ["a schema that refers to itself", loop, {}],
    ["choices that double with each level", doubling, nested(60)],
    ["a schema that writes its own costs", { ...doubling, "mcpgw-object": -1e15 }, nested(60)],
    ["a schema whose own costs are not numbers", { ...doubling, "mcpgw-object": "x" }, nested(60)],
  ])("%s", (_what, schema, args) => {
    const { wrong } = setUp();
    expect(wrong(schema, args).message).toContain("too complex");
  });
  const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
  const enumOf = (count: number) => prop({ items: { enum: times(count, (i) => `k${i}`) } });
  const anyOf = (count: number, make: (i: number) => unknown) => ({ anyOf: [...times(count, make), true] });
  const random = (length: number, seed: number): string => {
    let x = seed;
    return times(length, () =>
      ((x = (Math.imul(x, 1_103_515_245) + 12_345) & 0x7fffffff) >> 16) & 1 ? "a" : "b",
    ).join("");
  };
  const text = "x".repeat(1_000_000);
  const members = Object.fromEntries(times(10_000, (i) => [`p${i}`, 1]));
  test.each<[string, Record<string, unknown>, unknown]>([
    ["a long choice for many values", enumOf(30_000), times(1000, () => "k29999")],
    ["many schemas for many values", prop({ items: anyOf(500, () => ({ type: "string" })) }), times(5000, () => 1)],
    [
      "a pattern for many texts",
      prop({ items: { pattern: "[ab]*a[ab]{400}$" } }),
      times(8, (i) => `${random(39_000, i)}a${random(400, i)}`),
    ],
    ["many bounds for a long text", prop(anyOf(900, () => ({ minLength: 999_999, maxLength: 1 }))), text],
    ["many bounds for many names", prop(anyOf(900, () => ({ minProperties: 20_000 }))), members],
    ["many searches in a list", prop(anyOf(400, () => ({ contains: { type: "string" } }))), times(1000, () => 1)],
    [
      "many comparisons of the same items",
      prop({ allOf: times(400, () => ({ uniqueItems: true })) }),
      times(9000, (i) => [i]),
    ],
    ["many schemas for each member", prop({ additionalProperties: anyOf(400, () => ({ type: "string" })) }), members],
    [
      "a few schemas for very many values",
      prop({ items: anyOf(48, () => ({ type: "string" })) }),
      times(40_000, () => 1),
    ],
    [
      "a few schemas of which one matches, for very many values",
      prop({ items: { oneOf: [...times(48, () => ({ type: "string" })), true] } }),
      times(40_000, () => 1),
    ],
    [
      "many small schemas for each value",
      prop({ items: { allOf: times(700, () => ({ type: "integer" })) } }),
      times(10_000, (i) => i),
    ],
    [
      "very many optional fields for each row",
      prop({ items: object({ properties: Object.fromEntries(times(900, (i) => [`p${i}`, { type: "string" }])) }) }),
      times(100_000, () => ({})),
    ],
    [
      "very many fields of a choice for each row",
      prop({
        items: {
          anyOf: [{ properties: Object.fromEntries(times(900, (i) => [`p${i}`, true])) }, { minProperties: 0 }],
          unevaluatedProperties: false,
        },
      }),
      times(100_000, () => ({ p1: 1 })),
    ],
    ["references of very many rows to the root", prop({ items: { $ref: "#" } }), times(200_000, () => ({ a: [{}] }))],
    ["many minimum lengths for a long text", prop(anyOf(900, () => ({ minLength: 2_000_000 }))), text],
    ["many refusals of additional names", prop(anyOf(900, () => ({ additionalProperties: false }))), members],
    [
      "a reference for many items",
      { ...prop({ items: { $ref: "#/$defs/n" } }), $defs: { n: { not: { type: "string" } } } },
      times(300_000, () => 1),
    ],
  ])("%s", (_what, schema, a) => {
    expect(setUp().wrong(schema, { a }).message).toContain("too complex");
  });
  test.each<[string, Record<string, unknown>, unknown]>([
    ["numbers", prop({ items: { type: "integer", minimum: 0 } }), times(1_000_000, (i) => i)],
    ["a choice for many values", enumOf(100), times(50_000, (i) => `k${i % 100}`)],
    [
      "rows of optional fields",
      prop({
        items: object({
          properties: { x: { anyOf: [{ type: "string" }, { type: "null" }] }, y: { $ref: "#/$defs/n" } },
        }),
      }),
      times(50_000, () => ({ x: "x", z: 1 })),
    ],
    ["a few schemas for each value", prop({ items: anyOf(2, () => ({ type: "string" })) }), times(300_000, () => "x")],
    ["a reference for many items", prop({ items: { $ref: "#/$defs/n" } }), times(150_000, (i) => i)],
    ["a search in a list", prop({ contains: { type: "string" } }), [...times(80_000, (i) => i), "x"]],
    [
      "members of any name",
      prop({ additionalProperties: { type: "integer" } }),
      Object.fromEntries(times(100_000, (i) => [`p${i}`, i])),
    ],
    [
      "rows of many fields",
      prop({ items: object({ properties: Object.fromEntries(times(30, (i) => [`p${i}`, { type: "integer" }])) }) }),
      times(50_000, (i) => ({ p0: i })),
    ],
    ["a long text of a bounded length", prop({ type: "string", maxLength: 4_000_000 }), "x".repeat(3_000_000)],
  ])("large uniform arguments are checked: %s", (_what, schema, a) => {
    setUp().check({ ...schema, $defs: { n: { type: "number" } } }, { a });
  });
  test("a null member does not make a check too complex", () => {
    const { wrong } = setUp();
    const a = [...times(12_000, () => "k999"), "z"];
    for (const args of [{ a }, { a, b: null }])
      expect(wrong(enumOf(1000), args).message).toContain("arguments/a/12000 must be equal to one of");
  });
  test("texts that match their pattern are charged by the time that matching takes", () => {
    const base64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";
    setUp().check(prop({ items: { pattern: base64 } }), { a: times(2, () => "QUJD".repeat(175_000)) });
  });
  test("time during which the whole process stands still is not charged to matching", async () => {
    const schema = prop({ pattern: "^(?:[A-Za-z0-9+/]{4})*$" });
    const args = { a: "QUJD".repeat(175_000) };
    const { check } = setUp();
    check(schema, args);
    const paused = suspendProcess(1000, 200);
    const start = performance.now();
    let longest = 0;
    // Whenever the process stops, it is in the middle of a match.
    while (longest < 900 && performance.now() - start < 20_000) {
      const begun = performance.now();
      check(schema, args);
      longest = Math.max(longest, performance.now() - begun);
    }
    expect(longest).toBeGreaterThan(900);
    await paused;
  });
  test("only one fault is reported for a very large schema, since it is compiled once", () => {
    const properties = Object.fromEntries(times(300, (i) => [`p${i}`, { type: "string" }]));
    const { message } = setUp().wrong(object({ properties }), { p0: 1, p1: 1 });
    expect(message.split("\n")).toHaveLength(2);
  });
  test("of very many faults, only the first is reported", () => {
    const { message } = setUp().wrong(enumOf(1000), { a: times(90_000, () => "z") });
    expect(message.split("\n")).toHaveLength(2);
    expect(message).toContain("arguments/a/0 must be equal to one of");
  });
  test("long names from the caller are not copied into the path of each fault", () => {
    const { wrong } = setUp();
    const schema = prop({ additionalProperties: { allOf: times(100, () => ({ type: "string" })) } });
    const refused = (name: string): number =>
      fastest(() =>
        expect(wrong(schema, { a: { [name]: 1 } }).message).toContain(
          `arguments/a/${name.slice(0, 2).replace("/", "~1")}`,
        ),
      );
    expect(refused("x/".repeat(100_000))).toBeLessThan(20 * refused("xy".repeat(100_000)));
  });
  test("uniqueItems is checked for 50,000 objects", () => {
    const { check } = setUp();
    check(prop({ type: "array", uniqueItems: true }), { a: Array.from({ length: 50_000 }, (_, i) => ({ i })) });
  });
});

test("a schema with nested dynamic anchors is compiled once", () => {
  const nested = (level: number): Record<string, unknown> => ({
    $dynamicAnchor: `a${level}`,
    ...(level < 28 && { properties: { a: nested(level + 1) } }),
  });
  setUp().check(object(nested(0)), {});
});

test("many references to a large part compile in about the same time as the same number of small parts", () => {
  const { check } = setUp();
  const size = 200;
  const properties = Object.fromEntries(Array.from({ length: size }, (_, i) => [`p${i}`, { type: "string" }]));
  let title = 0;
  // With another title it is another schema, which is compiled again.
  const compile = (each: unknown): number =>
    fastest(() => {
      const allOf = Array.from({ length: size }, () => each);
      check(object({ title: String(title++), allOf, $defs: { a: { properties } }, properties }), {});
    });
  const alone = compile({ minProperties: 0 });
  expect(compile({ $ref: "#/$defs/a" })).toBeLessThan(10 * alone);
  const list = Object.keys(properties).slice(100);
  for (const keyword of ["required", "enum"])
    expect(compile({ properties: { b: { [keyword]: list } } })).toBeLessThan(10 * alone);
});

test("a large part is compiled once although many reference targets contain it", () => {
  const { check } = setUp();
  const depth = 27;
  const large = { properties: Object.fromEntries(Array.from({ length: 600 }, (_, i) => [`p${i}`, { minLength: i }])) };
  const chain = (level: number): unknown => (level === 0 ? large : { not: chain(level - 1) });
  let title = 0;
  const compile = (pointer: (level: number) => string): number =>
    fastest(() => {
      const allOf = Array.from({ length: depth }, (_, i) => ({ properties: { b: { $ref: pointer(i) } } }));
      check(object({ title: String(title++), properties: { a: chain(depth) }, allOf }), {});
    });
  const alone = compile(() => "#/properties/a");
  expect(compile((level) => `#/properties/a${"/not".repeat(level)}`)).toBeLessThan(4 * alone);
});
