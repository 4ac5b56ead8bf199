import { expect, test } from "bun:test";
import fc from "fast-check";
import { canonical, canonicalString, type Json } from "../../src/core/canonical.ts";
import { anyText } from "../support/any-text.ts";

const cases: [string, Json, string][] = [
  ["keys in code unit order", { b: 1, a: 2, é: 3, "": 4, B: 5 }, '{"":4,"B":5,"a":2,"b":1,"é":3}'],
  ["nested", { z: [{ y: null, x: true }], a: "q" }, '{"a":"q","z":[{"x":true,"y":null}]}'],
  ["escapes of RFC 8785", '€$\u000f\nA\'B"\\\\"/', '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'],
  ["lone surrogate", "a\ud800b", '"a\ufffdb"'],
  ["pair", "\u{1f600}", '"\u{1f600}"'],
  ["negative zero", -0, "0"],
  ["largest safe integer", Number.MAX_SAFE_INTEGER, "9007199254740991"],
];

for (const [name, value, text] of cases) test(`canonical: ${name}`, () => expect(canonical(value)).toBe(text));

for (const value of [0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
  test(`canonical: ${value} is refused`, () => expect(() => canonical(value)).toThrow(TypeError));
}

const { json } = fc.letrec<{ json: Json }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4 },
    anyText,
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("json")),
    fc.dictionary(anyText, tie("json")),
  ),
}));

test("canonical: the text is the same for any order of keys and parses back to the same value", () => {
  fc.assert(
    fc.property(json, (value) => {
      const text = canonical(value);
      const reversed: Json = JSON.parse(text, (_, item) =>
        item && typeof item === "object" && !Array.isArray(item)
          ? Object.fromEntries(Object.entries(item).reverse())
          : item,
      );
      expect(canonical(reversed)).toBe(text);
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("canonical: a string literal is well-formed UTF-8 and parses back", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      expect(JSON.parse(canonicalString(text))).toBe(text.toWellFormed());
    }),
  );
});
