import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { members } from "../../src/mcp/json-text.ts";
import { scan } from "../../src/mcp/scan.ts";
import { fastest } from "../support/fastest.ts";
import { expectFailure, keyText, limits, spaced, spacedJson } from "./support.ts";

setDefaultTimeout(30_000);

const repeat = (text: string, times: number): string => text.repeat(times);
const megabyte = 1024 ** 2;

describe("duplicate keys", () => {
  const found: [text: string, key: string][] = [
    ['{"a":1,"a":2}', "a"],
    ['{"a":1,"\\u0061":2}', "a"],
    ['{"\\u0061":1,"a":2}', "a"],
    ['{"x":[{"y":{"k":1,"z":[],"k":{}}}]}', "k"],
    ['{"__proto__":1,"__proto__":2}', "__proto__"],
    ['{"":1,"":2}', ""],
    ['{"a\\"b":1,"a\\"b":2}', 'a"b'],
    [`{${Array.from({ length: 12 }, (_, i) => `"k${i}":0`).join(",")},"k3":1}`, "k3"],
    [`{"a":{"b":1,"c":2},"b":[{"b":1}],"b":3}`, "b"],
  ];
  test.each(found)("S27: %s", (text, key) => {
    const failure = expectFailure(() => scan(text, limits), "invalid-request");
    expect(failure.message).toContain(`"${key}"`);
  });

  const none = [
    '{"a":"a","b":"a"}',
    '{"a":1,"A":2}',
    '{"a":{"a":{"a":1}}}',
    '[{"a":1},{"a":1}]',
    '["a","a",{"b":"b"}]',
    '{"a\\\\":1,"a":2}',
    '{"a":"}","b":"{\\"a\\":1,\\"a\\":2}"}',
    '{"a":[1,"b","b"],"b":["a",{"a":1}],"c":{}}',
  ];
  test.each(none)("no duplicate in %s", (text) => expect(() => scan(text, limits)).not.toThrow());

  test("the name of a duplicate key is cut and cannot forge output", () => {
    const key = `\u001b[31m${repeat("x", 5000)}`;
    const text = `{${JSON.stringify(key)}:1,${JSON.stringify(key)}:2}`;
    const { message } = expectFailure(() => scan(text, limits), "invalid-request");
    expect(message.length).toBeLessThan(250);
    expect(message).not.toContain("\u001b");
  });
});

describe("agreement with JSON.parse", () => {
  test("text without duplicates passes, and its values are counted", () => {
    const count = (value: unknown): number =>
      value instanceof Object ? Object.values(value).reduce<number>((sum, part) => sum + count(part), 1) : 1;
    fc.assert(
      fc.property(spacedJson, (text) => expect(scan(text, limits)).toBe(count(JSON.parse(text)))),
      { numRuns: 300 },
    );
  });

  test("S27: a duplicate key is found anywhere", () => {
    const value = fc.dictionary(fc.string({ maxLength: 6 }), fc.jsonValue({ maxDepth: 2 }), {
      minKeys: 1,
      maxKeys: 14,
    });
    const around = fc.constantFrom("@", "[1,@]", '{"p":{"q":[@,"@"]}}', '[{"p":"}"},@]');
    fc.assert(
      fc.property(value, fc.nat(), fc.boolean(), around, (object, pick, escape, frame) => {
        const keys = Object.keys(object);
        const key = keys[pick % keys.length] ?? "";
        const again = escape ? keyText(key) : JSON.stringify(key);
        const doubled = `${spaced(object, " ").slice(0, -1)},${again}:0}`;
        const text = frame.replace("@", () => doubled);
        JSON.parse(text);
        expectFailure(() => scan(text, limits), "invalid-request");
      }),
      { numRuns: 300 },
    );
  });

  test("members are those that JSON.parse finds", () => {
    const object = fc.dictionary(fc.string({ maxLength: 6 }), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 12 });
    fc.assert(
      fc.property(object, fc.constantFrom("", " ", "\n\t"), (value, space) => {
        const text = `${space}${spaced(value, space)}${space}`;
        const found = members(text).map(({ key, value: [start, end] }) => [key, JSON.parse(text.slice(start, end))]);
        expect(found).toEqual(Object.entries(JSON.parse(text)));
      }),
      { numRuns: 300 },
    );
  });

  test("T20: no text makes it loop or throw anything but a Failure", () => {
    const noise = fc.string({ unit: fc.constantFrom(...Array.from('{}[]",:\\0-ex \n')), maxLength: 40 });
    fc.assert(
      fc.property(noise, (text) => {
        try {
          scan(text, limits);
        } catch {
          expectFailure(() => scan(text, limits), "invalid-request");
        }
        members(text);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("limits", () => {
  test("depth and number of values are counted exactly", () => {
    expect(() => scan("[[[]]]", { depth: 3, nodes: 3 })).not.toThrow();
    expectFailure(() => scan("[[[[]]]]", { depth: 3, nodes: 100 }), "invalid-request");
    expect(() => scan('{"a":[1,"b",true],"c":{}}', { depth: 9, nodes: 6 })).not.toThrow();
    expectFailure(() => scan('{"a":[1,"b",true],"c":{}}', { depth: 9, nodes: 5 }), "invalid-request");
  });

  const hostile: [name: string, text: string][] = [
    ["100k nested arrays", repeat("[", 100_000)],
    ["200 KB of nested objects", repeat('{"a":', 40_000)],
    ["4 MiB of [0,0,…]", `[${repeat("0,", 2 * megabyte)}0]`],
    ["a million keys", `{${Array.from({ length: 400_000 }, (_, i) => `"a${i}":0`).join(",")}}`],
    ["one number of 4 MiB", repeat("9", 4 * megabyte)],
    ["1000 long numbers", `[${repeat(`${repeat("9", 4200)},`, 1000)}0]`],
    ["4 MiB of quotes", `[${repeat('"",', 1_300_000)}""]`],
    ["4 MiB of escaped quotes with a duplicate", `{"a":"${repeat('\\"', 2 * megabyte)}","a":0}`],
    ["4 MiB of backslashes with a duplicate", `{"a":"${repeat("\\\\", 2 * megabyte)}","a":0}`],
  ];
  test.each(hostile)("S23 T21: %s is refused in bounded time", (_name, text) => {
    expectFailure(() => scan(text, limits), "invalid-request");
    // It takes 5 to 20 ms, and twice that until it is compiled, which a loaded machine delays.
    expect(fastest(() => expectFailure(() => scan(text, limits), "invalid-request"))).toBeLessThan(100);
  });
});
