import { expect, test } from "bun:test";
import type { Tool } from "../../src/core/call.ts";
import { makeCall, makeRoute, makeTool } from "../support/call.ts";
import { failureOf } from "../support/failure.ts";
import { object, prop, setUp } from "../support/validator.ts";

type Row = [what: string, schema: Tool["inputSchema"], good: unknown, bad: unknown, fault: string];

const inHundredths = [19.99, 0.07, 4.35, 98_765_432.19, 1e20, 1e308];
const spaces = " \t\u00a0\u2003\u2028\ufeff";
const twin = { x: 1, y: 2 };
const listOfOne = { items: [{ type: "string" }] };

/** Schemas of the member `a`, with a valid and an invalid value. */
const ofMember: Row[] = [
  ["type", { type: "string" }, "x", 1, "arguments/a must be string"],
  ["enum", { enum: ["x", "y"] }, "x", "z", 'must be equal to one of the allowed values: ["x","y"]'],
  ["const", { const: "x" }, "x", "z", 'must be equal to constant: "x"'],
  ["nothing is coerced", { type: "number" }, 1, "1", "arguments/a must be number"],
  ...inHundredths.map((good): Row => [`hundredths, ${good}`, { multipleOf: 0.01 }, good, 0.015, "multiple of 0.01"]),
  ["tenths", { multipleOf: 0.1 }, 0.3, 0.35, "arguments/a must be multiple of 0.1"],
  ...[1.5, 600_000_000_000_000.5].map((bad): Row => [`ones, ${bad}`, { multipleOf: 1 }, 1e21, bad, "multiple of 1"]),
  ...[1, 1e-300, -1].map((bad): Row => [`millions, ${bad}`, { multipleOf: 1e6 }, -2e6, bad, "multiple of 1000000"]),
  ["hundreds", { multipleOf: 100 }, 0, 1e-5, "arguments/a must be multiple of 100"],
  ["pattern", { type: "string", pattern: "^[a-z]+$" }, "x", "X", "must match pattern"],
  ...["^\\s*$", "^[x\\s]*$"].map((pattern): Row => [
    `white space of ECMAScript, ${pattern}`,
    { pattern },
    spaces,
    "\u200b",
    "must match pattern",
  ]),
  ...["^[\\s-_]*$", "^[_\\s-.]*$", "^[\\s-\\w]*$"].map((pattern): Row => [
    `white space before a dash, ${pattern}`,
    { pattern },
    "_-\u00a0_",
    "!",
    "must match pattern",
  ]),
  [
    "white space beyond the size limit of a pattern",
    { pattern: `^${"\\s?".repeat(60)}$` },
    "  ",
    "x",
    "must match pattern",
  ],
  ...["^\\u{3000}+$", "^\\x{3000}+$"].map((pattern): Row => [
    `a character by its number, ${pattern}`,
    { pattern },
    "\u3000",
    "x",
    "must match pattern",
  ]),
  ["characters other than white space", { pattern: "^[[\\S]\\S\\\\s$" }, "xy\\s", "x\u00a0\\s", "must match pattern"],
  ["unknown formats are ignored", { type: "string", format: "nobody-knows" }, "x", 1, "arguments/a"],
  ["uniqueItems", { uniqueItems: true }, [twin, { x: 1 }], [twin, { y: 2, x: 1 }], "not have equal items"],
  ...[2 ** 53, { id: -(2 ** 64) }].map((rounded): Row => [
    `uniqueItems that parsing may have made equal, ${JSON.stringify(rounded)}`,
    { uniqueItems: true },
    [rounded, rounded],
    [rounded, 1, rounded, 1],
    "not have equal items",
  ]),
  ["prefixItems of 2020-12", { prefixItems: [{ type: "string" }] }, ["x"], [1], "arguments/a/0"],
  ...["additionalItems", "unevaluatedItems"].map((more): Row => [
    `no dialect, ${more}`,
    { ...listOfOne, [more]: false },
    [],
    ["x", 1],
    "more than 1 items",
  ]),
  ...["dependentRequired", "dependencies"].map((needs): Row => [
    `no dialect, ${needs}`,
    { items: [{ [needs]: { b: ["c"] } }] },
    [],
    [{ b: 1 }],
    "property c",
  ]),
  ["nullable without a type", { nullable: true, enum: ["x", null] }, null, 1, "arguments/a"],
  ["nullable as a text", { type: "string", nullable: "yes" }, "x", 1, "arguments/a"],
  ["null though not nullable", { type: ["string", "null"], nullable: false }, null, 1, "arguments/a"],
  ...["title", "format", "examples", "deprecated", "readOnly", "contentEncoding", "$comment"].map((keyword): Row => [
    `an invalid annotation, ${keyword}`,
    { type: "string", [keyword]: null },
    "x",
    1,
    "arguments/a",
  ]),
  ["an exclusive minimum of draft-04", { minimum: 1, exclusiveMinimum: true }, 2, 1, "arguments/a must be > 1"],
  ["an exclusive maximum of draft-04", { maximum: 1, exclusiveMaximum: true }, 0, 1, "arguments/a must be < 1"],
  ["a draft-04 flag that is false", { minimum: 1, exclusiveMinimum: false }, 1, 0, "arguments/a must be >= 1"],
  ["id as an annotation", { type: "string", id: "foo" }, "x", 1, "arguments/a"],
];

const rows: Row[] = [
  ...ofMember.map(([what, schema, good, bad, fault]): Row => [what, prop(schema), { a: good }, { a: bad }, fault]),
  ["required", object({ required: ["a"] }), { a: 1 }, {}, "must have required property 'a'"],
  ["null for a member that may be omitted", prop({ type: "string" }), { a: null }, { a: 1 }, "must be string"],
  ["no arguments at all", object({ required: ["a"] }), { a: 1 }, undefined, "must have required property 'a'"],
  ["inherited names are not properties", object({ required: ["constructor"] }), { constructor: 1 }, {}, "constructor"],
  [
    "additionalProperties",
    { ...prop({}), additionalProperties: false },
    { a: 1 },
    { b: 1 },
    'must NOT have additional properties: "b"',
  ],
  ["arguments that are not an object", object({}), {}, [], "arguments must be object"],
  [
    "white space in patternProperties",
    object({ patternProperties: { "^[\\s-_]$": { type: "number" } }, additionalProperties: false }),
    { "-": 1, "\u00a0": 1 },
    { x: "" },
    "must NOT have additional properties",
  ],
  [
    "patternProperties",
    object({ patternProperties: { "^n": { type: "number" } } }),
    { n1: 1, x: "" },
    { n1: "" },
    "arguments/n1",
  ],
  ...[{}, { unevaluatedProperties: false }].map((rest): Row => [
    `patternProperties beside a choice of references ${JSON.stringify(rest)}`,
    {
      ...object({ anyOf: [{ $ref: "#/$defs/d" }], patternProperties: { "^n": { type: "number" } }, ...rest }),
      $defs: { d: { anyOf: [{ required: ["n1"] }, { properties: { a: true }, required: ["a"] }] } },
    },
    { n1: 1 },
    { n1: "" },
    "arguments/n1 must be number",
  ]),
  ...[false, { type: "boolean" }].map((unevaluatedItems): Row => [
    `unevaluatedItems beside a choice, ${JSON.stringify(unevaluatedItems)}`,
    prop({ unevaluatedItems, anyOf: [{ items: { type: "string" } }, true] }),
    { a: ["x", "y"] },
    { a: ["x", 1] },
    "arguments/a",
  ]),
  [
    "two patterns stay two",
    object({ properties: { a: { pattern: "^x" }, b: { pattern: "^y" } } }),
    { a: "x", b: "y" },
    { a: "x", b: "x" },
    "arguments/b",
  ],
  [
    "$defs",
    object({ properties: { a: { $ref: "#/$defs/n" } }, $defs: { n: { type: "integer" } } }),
    { a: 1 },
    { a: 1.5 },
    "arguments/a",
  ],
  [
    "$anchor",
    object({ properties: { a: { $ref: "#n" } }, $defs: { n: { $anchor: "n", type: "integer" } } }),
    { a: 1 },
    { a: "" },
    "arguments/a",
  ],
  ...[{ $dynamicAnchor: "n" }, { $anchor: "n" }].map((anchor): Row => [
    `$dynamicRef to ${JSON.stringify(anchor)}`,
    object({ properties: { a: { $dynamicRef: "#n", minimum: 1 } }, $defs: { n: { ...anchor, type: "integer" } } }),
    { a: 1 },
    { a: "" },
    "arguments/a must be integer",
  ]),
  [
    "$dynamicRef to the schema false",
    object({ properties: { a: { $dynamicRef: "#/$defs/n", $ref: "#/$defs/m" } }, $defs: { n: false, m: true } }),
    {},
    { a: 1 },
    "arguments/a boolean schema is false",
  ],
  [
    "$dynamicRef, which draft-07 does not have",
    {
      $schema: "http://json-schema.org/draft-07/schema#",
      ...object({ properties: { a: { $dynamicRef: "#", type: "string" } } }),
    },
    { a: "x" },
    { a: 1 },
    "arguments/a must be string",
  ],
  [
    "$anchor of the root",
    object({ $anchor: "whole", properties: { a: { $ref: "#whole" }, n: { type: "number" } } }),
    { a: { n: 1 } },
    { a: { n: "" } },
    "arguments/a/n",
  ],
  [
    "an anchor in a value that is not a schema",
    object({
      properties: { a: { $ref: "#n", "x-from": { $anchor: "t0" } } },
      $defs: { n: { $anchor: "n", type: "string" } },
    }),
    { a: "x" },
    { a: 1 },
    "arguments/a must be string",
  ],
  [
    "recursion",
    object({ properties: { a: { $ref: "#" }, n: { type: "number" } } }),
    { a: { a: { n: 1 } } },
    { a: { a: { n: "" } } },
    "arguments/a/a/n",
  ],
  ...[
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft-07/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-04/schema#",
  ].map(($schema): Row => [
    `items of ${$schema}`,
    { $schema, ...prop(listOfOne) },
    { a: ["x"] },
    { a: [1] },
    "arguments/a/0",
  ]),
  [
    "items of 2019-09",
    {
      $schema: "https://json-schema.org/draft/2019-09/schema",
      ...prop({ ...listOfOne, unevaluatedItems: false }),
    },
    { a: ["x"] },
    { a: ["x", 1] },
    "arguments/a must NOT have more than 1 items",
  ],
  ...[{}, { $recursiveAnchor: true }].map((anchor): Row => [
    `$recursiveRef of 2019-09 ${JSON.stringify(anchor)}`,
    {
      $schema: "https://json-schema.org/draft/2019-09/schema",
      ...object({ properties: { a: { $ref: "#/$defs/n" }, x: { type: "number" } } }),
      $defs: { n: { properties: { b: { $recursiveRef: "#" }, x: { type: "string" } } } },
      ...anchor,
    },
    { a: { x: "", b: { x: 1 } } },
    { a: { x: "", b: { x: "" } } },
    "arguments/a/b/x must be number",
  ]),
  [
    "an $id of its own",
    { $id: "https://x.example/s", ...prop({ type: "string" }) },
    { a: "x" },
    { a: 1 },
    "arguments/a",
  ],
  ["an empty enum", prop({ enum: [] }), {}, { a: 1 }, "arguments/a must NOT be valid"],
  [
    "an id in draft-07",
    { $schema: "http://json-schema.org/draft-07/schema#", ...prop({ type: "string", id: "foo" }) },
    { a: "x" },
    { a: 1 },
    "arguments/a",
  ],
];

test.each(rows)("arguments are checked against the schema: %s", (_what, schema, good, bad, fault) => {
  const { check, wrong, refuses } = setUp();
  expect(refuses(schema)).toBeNull();
  check(schema, good);
  const failure = wrong(schema, bad);
  expect([failure.code, failure.row.as]).toEqual(["invalid-arguments", "tool"]);
  expect(failure.message).toContain(fault);
});

const deep = (levels: number): Tool["inputSchema"] =>
  levels === 0 ? {} : object({ properties: { a: deep(levels - 1) } });
const names = (count: number, make: (name: string, at: number) => unknown = () => ({})) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, make(`p${i}`, i)]));

const unusable: [what: string, schema: Tool["inputSchema"], reason: string][] = [
  ["a string", { type: "string" }, "type"],
  ["without type", {}, "type"],
  ["S05 a remote $ref", prop({ $ref: "https://evil.example/s.json" }), "only references within"],
  ["S05 a file $ref", prop({ $ref: "file:///etc/passwd" }), "only references within"],
  ["S05 an unresolved $ref", prop({ $ref: "#/$defs/none" }), "not a schema in it"],
  ["S05 an unresolved anchor", prop({ $dynamicRef: "#none" }), "not a schema in it"],
  [
    "S05 a $ref into data",
    object({ properties: { a: { $ref: "#/examples/0" } }, examples: [{ $ref: "#" }] }),
    "not a schema in it",
  ],
  ["S05 deeper than 64", deep(40), "deeper than 64"],
  ["S05 more than 1000 subschemas", object({ properties: names(1001) }), "more than 1000"],
  ["S05 more than 1000 booleans", object({ properties: names(1001, () => true) }), "more than 1000"],
  [
    "S05 dependencies on more than 1000 names",
    object({ dependentRequired: { a: Object.keys(names(500)), b: Object.keys(names(501)) } }),
    "more than 1000",
  ],
  ["S05 more than 256 KiB", object({ description: "x".repeat(262_144) }), "longer than 256 KiB"],
  ["a nested $id", prop({ $id: "https://x.example/", $ref: "#" }), "nested $id"],
  [
    "an anchor on two parts",
    object({ properties: { a: { $anchor: "n" }, b: { $anchor: "n", type: "string" } } }),
    "duplicate $anchor",
  ],
  ["an asynchronous schema", { ...object({}), $async: true }, "$async"],
  ["another dialect", { $schema: "http://json-schema.org/draft-03/schema#", type: "object" }, "draft-03"],
  ["a dialect with the name of an inherited object member", object({ $schema: "constructor" }), '"constructor"'],
  ["a draft-04 flag without a bound", prop({ exclusiveMinimum: true }), "/properties/a/exclusiveMinimum must be"],
  ["an invalid schema", prop({ type: "strnig" }), "is not a valid schema"],
  [
    "a reference to an invalid schema below an ignored pattern",
    object({ ...prop({ $ref: "#/patternProperties/(?=x)" }), patternProperties: { "(?=x)": { type: "strnig" } } }),
    "is not a valid schema",
  ],
  [
    "lists of items beside a keyword that their dialect does not have",
    object({ properties: { a: { items: [{}] }, b: { prefixItems: [{ type: "string" }] } } }),
    "/properties/a/items must be an object or a boolean",
  ],
  [
    "S05 a $recursiveRef to a part",
    object({ properties: { a: { $recursiveRef: "#/$defs/n" } }, $defs: { n: {} } }),
    "only references within",
  ],
  ["a malformed keyword", object({ required: "a" }), "is not a valid schema"],
];

test.each(unusable)(
  "a tool whose inputSchema is unusable is hidden with a reason, and never called: %s",
  (_what, schema, reason) => {
    const { validator } = setUp();
    const route = { ...makeRoute("crm", "get"), tool: { ...makeTool("get"), inputSchema: schema } };
    expect(validator.refuses(route.tool)).toStartWith("its inputSchema ");
    expect(validator.refuses(route.tool)).toContain(reason);
    expect(failureOf(() => validator.check(makeCall({ args: {} }), route)).code).toBe("invalid-arguments");
  },
);

test("the error names at most five paths, each truncated", () => {
  const { wrong } = setUp();
  const schema = object({ required: Array.from({ length: 9 }, (_, i) => `${i}${"x".repeat(500)}`) });
  const lines = wrong(schema, {}).message.split("\n");
  expect(lines).toHaveLength(7);
  expect(lines.at(-1)).toBe("- and 4 more");
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(202);
});

test("schemas whose parts have the same names are kept apart", () => {
  const { check, wrong } = setUp();
  const schema = (type: string) =>
    object({
      properties: { a: { $ref: "#/$defs/n" }, b: { $ref: "#n" }, c: { $ref: "#" } },
      $defs: { n: { $anchor: "n", type } },
    });
  for (const [type, good, bad] of [
    ["string", "x", 1],
    ["number", 1, "x"],
    ["string", "x", 1],
  ] as const) {
    check(schema(type), { a: good, b: good, c: { a: good } });
    for (const args of [{ a: bad }, { b: bad }, { c: { a: bad } }])
      expect(wrong(schema(type), args).message).toContain(type);
  }
});

test.each(["a/b~c", "it's", 'a "quote"', "a.b", "naïve", "['x", "0"])("a path is a JSON pointer: %s", (name) => {
  const { wrong } = setUp();
  const part = { items: object({ properties: { b: { type: "string" } } }) };
  for (const schema of [{ properties: { [name]: part } }, { additionalProperties: part }]) {
    const path = `arguments/a/${name.replaceAll("~", "~0").replaceAll("/", "~1")}/0/b must be string`;
    expect(wrong(prop(schema), { a: { [name]: [{ b: 1 }] } }).message).toContain(path);
  }
});

test.each([`x']["\\q"]`, `x']["\n"]`, `a']['b`])(
  "a name that looks like a path is refused as any other: %p",
  (name) => {
    const { code, message } = setUp().wrong(object({ additionalProperties: { type: "string" } }), { [name]: 1 });
    expect([code, message]).toEqual(["invalid-arguments", expect.stringContaining("must be string")]);
  },
);

test("the arguments are left unchanged", () => {
  const { check } = setUp();
  const args = {};
  check(prop({ default: 1 }), args);
  expect(args).toEqual({});
});
