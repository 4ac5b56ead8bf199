import { expect, test } from "bun:test";
import fc from "fast-check";
import { editObject } from "../../src/mcp/edit.ts";
import { spaced } from "./support.ts";

const cases: [text: string, edits: Record<string, string | null>, result: string][] = [
  ['{"a":1,"b":2}', { a: "9" }, '{"a":9,"b":2}'],
  ['{ "a" : 1 , "b" : 1.10 }', { a: '"x"' }, '{ "a" : "x" , "b" : 1.10 }'],
  ['{"a":1,"b":2,"c":3}', { b: null }, '{"a":1,"c":3}'],
  ['{"a":1,"b":2,"c":3}', { a: null }, '{"b":2,"c":3}'],
  ['{"a":1,"b":2,"c":3}', { c: null }, '{"a":1,"b":2}'],
  ['{"a":1}', { a: null }, "{}"],
  ['{"a":1}', { a: null, b: "2" }, '{"b":2}'],
  ["{}", { a: "1", b: null }, '{"a":1}'],
  [" { } ", { a: "1" }, ' {"a":1 } '],
  ['{"n":12345678901234567890,"m":1.10}', { x: "1e400" }, '{"n":12345678901234567890,"m":1.10,"x":1e400}'],
  ['{"\\u0061":1}', { a: "2" }, '{"\\u0061":2}'],
  ['{"__proto__":{"a":1},"constructor":2}', { a: "1" }, '{"__proto__":{"a":1},"constructor":2,"a":1}'],
  ['{"a":{"b":1}}', { b: "2" }, '{"a":{"b":1},"b":2}'],
];

test.each(cases)("%s with %j", (text, edits, result) => expect(editObject(text, edits)).toBe(result));

const key = fc.string({ maxLength: 4 });
const object = fc.dictionary(key, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 8 });
const edits = fc.dictionary(key, fc.option(fc.jsonValue({ maxDepth: 1 })), { maxKeys: 5 });

test("the result parses to the edited object", () => {
  fc.assert(
    fc.property(object, edits, fc.nat(), fc.constantFrom("", " ", "\n"), (before, changes, pick, space) => {
      // At least one edit changes an existing member.
      const own = Object.keys(before);
      const hit = own[pick % (own.length || 1)];
      const all = new Map([
        ...Object.entries(changes),
        ...(hit === undefined ? [] : [[hit, changes.hit ?? null] as const]),
      ]);
      const expected = new Map(Object.entries(before));
      for (const [name, value] of all) {
        if (value === null) expected.delete(name);
        else expected.set(name, value);
      }
      const raw = [...all].map(([name, value]) => [name, value === null ? null : JSON.stringify(value)] as const);
      const edited: unknown = JSON.parse(editObject(spaced(before, space), Object.fromEntries(raw)));
      expect(edited).toEqual(JSON.parse(JSON.stringify(Object.fromEntries(expected))));
    }),
    { numRuns: 500 },
  );
});

test("text that is not edited stays character for character", () => {
  fc.assert(
    fc.property(object, fc.constantFrom("", " ", "\n", "\t "), (before, space) => {
      const text = spaced(before, space);
      expect(editObject(text, {})).toBe(text);
      const added = editObject(text, { "brand new": "1" });
      expect(editObject(added, { "brand new": null })).toBe(Object.keys(before).length > 0 ? text : "{}");
      if (Object.keys(before).length > 0) expect(added.startsWith(text.slice(0, -1))).toBe(true);
    }),
    { numRuns: 300 },
  );
});
