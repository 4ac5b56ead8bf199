import { describe, expect, test } from "bun:test";
import type { ListName } from "../../src/core/lists.ts";
import { readable } from "../../src/mcp/readable.ts";
import { finite, wellFormed } from "../../src/mcp/json-text.ts";

type Row = readonly [list: ListName, odd: string, kept: string, fault: string];

const icons = (more: string): string => `"icons":[{"src":"a"${more}},{"src":"b"}]`;

describe("members that would make clients refuse the whole list", () => {
  const rows: Row[] = [
    ["tools", '"title":5', "", "its title is not a string"],
    ["tools", '"outputSchema":[]', "", "its outputSchema is not a schema"],
    [
      "tools",
      '"outputSchema":{"$schema":1,"x":1.0}',
      '"outputSchema":{"x":1.0}',
      "its outputSchema.$schema is not a string",
    ],
    [
      "tools",
      '"annotations":{"title":null,"readOnlyHint":true,"x":1.0}',
      '"annotations":{"readOnlyHint":true,"x":1.0}',
      "its annotations.title is not a string",
    ],
    ["tools", '"annotations":null', "", "its annotations is not an object of hints"],
    // Clients on Zod 3 refuse an object with a member of this name.
    [
      "tools",
      '"inputSchema":{"properties":{"constructor":{"type":"string"},"toString":{"constructor":1}}}',
      '"inputSchema":{"properties":{"toString":{"constructor":1}}}',
      "its inputSchema.properties.constructor has a name that some clients cannot read",
    ],
    [
      "tools",
      '"outputSchema":{"properties":{"constructor":true}}',
      '"outputSchema":{"properties":{}}',
      "its outputSchema.properties.constructor has a name that some clients cannot read",
    ],
    // Clients look up a schema by its id and may find another tool's schema, or a member that every object inherits.
    ...["constructor", "https://example.org/s", "#"].map((id): Row => {
      const fault = "its outputSchema.$id may belong to another schema, which clients would use instead";
      return ["tools", `"outputSchema":{"$id":"${id}","x":1.0}`, '"outputSchema":{"x":1.0}', fault];
    }),
    // Clients on Zod 4 refuse an infinite number in a schema, and parsers in other languages the whole text.
    [
      "tools",
      '"inputSchema":{"properties":{"a":{"maximum":-1e400,"default":[1E+309,1e308,"1e400\\"1e400"]}}}',
      '"inputSchema":{"properties":{"a":{"maximum":-1.7976931348623157e+308,"default":[1.7976931348623157e+308,1e308,"1e400\\"1e400"]}}}',
      "a number in it is larger than clients can read",
    ],
    [
      "prompts",
      `"y":${"9".repeat(250)}e99`,
      '"y":1.7976931348623157e+308',
      "a number in it is larger than clients can read",
    ],
    [
      "resources",
      '"_meta":{"a":{"constructor":1},"constructor":1}',
      '"_meta":{"a":{"constructor":1}}',
      "its _meta.constructor has a name that some clients cannot read",
    ],
    [
      "tools",
      '"execution":{"taskSupport":"maybe"}',
      '"execution":{}',
      "its execution.taskSupport is not one of required, optional, forbidden",
    ],
    ["tools", '"icons":{}', "", "its icons is not a list of icons"],
    ["tools", '"icons":[{},{"src":"b"}]', '"icons":[{"src":"b"}]', "its icons[0] has no src"],
    ["tools", icons(',"sizes":"48x48"'), icons(""), "its icons[0].sizes is not a list of strings"],
    ["tools", icons(',"sizes":["48x48",96]'), icons(""), "its icons[0].sizes is not a list of strings"],
    ["prompts", icons(',"mimeType":null'), icons(""), "its icons[0].mimeType is not a string"],
    ["resources", icons(',"theme":"blue"'), icons(""), "its icons[0].theme is not one of light, dark"],
    ["prompts", '"_meta":null', "", "its _meta is not an object"],
    ["prompts", '"arguments":null', "", "its arguments is not a list of arguments"],
    [
      "prompts",
      '"arguments":[{"name":"a","description":null,"required":true}]',
      '"arguments":[{"name":"a","required":true}]',
      "its arguments[0].description is not a string",
    ],
    [
      "prompts",
      '"arguments":[{"name":"a"},{"required":true}]',
      '"arguments":[{"name":"a"}]',
      "its arguments[1] has no name",
    ],
    ["resources", '"description":null', "", "its description is not a string"],
    ["resources", '"mimeType":null', "", "its mimeType is not a string"],
    // Python clients read a size as a 64-bit integer; so do Go clients, but only if it is written as an integer.
    ...['"12"', "1.5", "1e19", "1e3", "-1", "12345678901234567890"].map((size): Row => {
      return ["resources", `"size":${size}`, "", "its size is not a whole number of at most 15 digits"];
    }),
    ["resourceTemplates", '"annotations":[]', "", "its annotations is not an object"],
    [
      "resourceTemplates",
      '"annotations":{"priority":5,"audience":["user"]}',
      '"annotations":{"audience":["user"]}',
      "its annotations.priority is not a number from 0 to 1",
    ],
    [
      "resources",
      '"annotations":{"audience":["user","robot"]}',
      '"annotations":{}',
      "its annotations.audience is not a list of user and assistant",
    ],
  ];
  test.each(rows)("of %s: %s", (list, odd, kept, fault) => {
    const definition = (member: string): string => `{ "name" : "t"${member && `,${member}`},"x":1.10}`;
    expect(readable(definition(odd), list)).toEqual({ text: definition(kept), faults: [fault] });
    // The rest is readable as it is.
    expect(readable(definition(kept), list)).toEqual({ text: definition(kept), faults: [] });
  });

  test.each([
    ["2025-01-01", false],
    ["2025-02-30T00:00:00Z", false],
    ["2024-02-29T00:00:00Z", true],
    ["2023-02-29T00:00:00Z", false],
    ["2025-01-01T00:00:00", false],
    ["2025-01-12T15:00:58.123+02:00", true],
  ])("a date %s", (lastModified, fits) => {
    const text = JSON.stringify({ name: "r", annotations: { lastModified } });
    expect(readable(text, "resources").faults.length).toBe(fits ? 0 : 1);
  });

  test.each(["resources", "resourceTemplates"] as const)("%s without a name cannot be read", (list) => {
    expect(readable('{"uri":"a:b"}', list)).toEqual({ text: null, faults: ["it has no name"] });
    expect(readable('{"name":null}', list)).toEqual({
      text: null,
      faults: ["its name is not a string", "it has no name"],
    });
  });

  test("only the first fault of a list is reported, and all are removed", () => {
    const text = `{"name":"p","arguments":[${Array.from({ length: 9 }, () => "null").join(",")},{"name":"a"}]}`;
    expect(readable(text, "prompts")).toEqual({
      text: '{"name":"p","arguments":[{"name":"a"}]}',
      faults: ["its arguments[0] is not an object"],
    });
  });

  test("unknown members stay", () => {
    const text = '{"name":"t","arguments":null,"mimeType":1,"constructor":null,"__proto__":null}';
    expect(readable(text, "tools")).toEqual({ text, faults: [] });
  });
});

test.each([
  ['"\\ud83d\\ude00 \\u00e9"', '"\\ud83d\\ude00 \\u00e9"'],
  ['"a\\uD83D"', '"a\\ufffd"'],
  ['"\\ude00\\ud83d\\ude00"', '"\\ufffd\\ud83d\\ude00"'],
  ['"\\\\ud83d"', '"\\\\ud83d"'],
  ['"\\\\\\ud83d"', '"\\\\\\ufffd"'],
])("unpaired surrogates: %s", (text, expected) => {
  expect(wellFormed(text)).toBe(expected);
  expect(JSON.parse(wellFormed(text)).isWellFormed()).toBe(true);
});

test("a number after a very long text is bounded too", () => {
  const text = `{"a":"${String.raw`\n`.repeat(3_000_000)}","b":`;
  expect(finite(`${text}1e400}`) === `${text}1.7976931348623157e+308}`).toBe(true);
});
