import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Tool } from "../../src/core/call.ts";
import {
  checkParamHeaders,
  decodeHeader,
  encodeHeader,
  headerNames,
  paramHeaders,
  readParamHeaders,
} from "../../src/mcp/headers.ts";
import { anyText } from "../support/any-text.ts";
import { expectFailure } from "./support.ts";

describe("the codec", () => {
  const vectors: [value: string, field: string][] = [
    ["us-west1", "us-west1"],
    ["a b\tc", "a b\tc"],
    ["Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="],
    [" padded ", "=?base64?IHBhZGRlZCA=?="],
    ["line1\nline2", "=?base64?bGluZTEKbGluZTI=?="],
    ["=?base64?SGVsbG8=?=", "=?base64?PT9iYXNlNjQ/U0dWc2JHOD0/PQ==?="],
    ["=?base64?open", "=?base64?open"],
    ["", "=?base64??="],
    ["é", "=?base64?w6k=?="],
  ];
  test.each(vectors)("S02: %j is sent as %s", (value, field) => {
    expect(encodeHeader(value)).toBe(field);
    expect(decodeHeader(field)).toBe(value);
  });

  const bad = [
    "=?base64?SGVsbG8?=",
    "=?base64?SGVs bG8=?=",
    "=?base64?SGVsbG8=-?=",
    "=?base64?/w==?=",
    "é",
    "\u00c3\u00a9\u0000",
    "\u0100",
    "a\u0000b",
  ];
  test.each(bad)("S02: %j is not decoded", (field) => expect(decodeHeader(field)).toBeNull());

  test("T20: UTF-8 without a sentinel, received as one character per byte, is decoded", () => {
    expect(decodeHeader(Buffer.from("file:///ü 世").toString("latin1"))).toBe("file:///ü 世");
  });

  test("the sentinel is case-sensitive", () => expect(decodeHeader("=?BASE64?SGVsbG8=?=")).toBe("=?BASE64?SGVsbG8=?="));

  test("S02: an encoded value is legal in a header and decodes to itself", () => {
    fc.assert(
      fc.property(anyText, (value) => {
        const received = new Headers({ x: encodeHeader(value) }).get("x") ?? "";
        expect(decodeHeader(received)).toBe(value.toWellFormed());
      }),
      { numRuns: 500 },
    );
  });
});

/** A call with these arguments, given as JSON text if their spelling matters. */
function call(args: unknown) {
  const text = typeof args === "string" ? args : JSON.stringify(args);
  return {
    text,
    spans: { params: null, arguments: [0, text.length] },
    params: { arguments: JSON.parse(text) },
  } as const;
}

const schema = {
  type: "object",
  properties: {
    region: { type: "string", "x-mcp-header": "Region" },
    limit: { type: "integer", "x-mcp-header": "Limit" },
    where: { type: "object", properties: { dry: { type: "boolean", "x-mcp-header": "Dry-Run" } } },
    other: { type: "string" },
  },
};

describe("S09: the headers that a schema may ask for", () => {
  test("headers along chains of properties", () => {
    expect(headerNames(schema)).toEqual({
      headers: [
        { path: ["region"], name: "Region" },
        { path: ["limit"], name: "Limit" },
        { path: ["where", "dry"], name: "Dry-Run" },
      ],
      invalid: null,
    });
  });

  const prop = (annotation: unknown, type: unknown = "string") => ({ type, "x-mcp-header": annotation });
  const refused: [what: string, schema: Tool["inputSchema"]][] = [
    ["an empty name", { properties: { a: prop("") } }],
    ["a line break", { properties: { a: prop("a\r\nAuthorization: x") } }],
    ["a space", { properties: { a: prop("a b") } }],
    ["a colon", { properties: { a: prop("a:") } }],
    ["not a string", { properties: { a: prop(7) } }],
    ["an object", { properties: { a: prop("A", "object") } }],
    ["a number that need not be an integer", { properties: { a: prop("A", "number") } }],
    ["several types", { properties: { a: prop("A", ["string", "null"]) } }],
    ["no type", { properties: { a: { "x-mcp-header": "A" } } }],
    ["the same name twice", { properties: { a: prop("Name"), b: { properties: { c: prop("NAME") } } } }],
    ["the root", { type: "string", "x-mcp-header": "A" }],
    ["items", { properties: { a: { items: prop("A") } } }],
    ["properties inside items", { properties: { a: { items: { properties: { b: prop("A") } } } } }],
    ["anyOf", { anyOf: [{ properties: { a: prop("A") } }] }],
    ["$defs", { $defs: { x: prop("A") } }],
    ["additionalProperties", { additionalProperties: prop("A") }],
    ["dependencies", { dependencies: { a: ["b"], b: { properties: { c: prop("A") } } } }],
    ["contentSchema", { properties: { a: { contentSchema: { properties: { b: prop("A") } } } } }],
  ];
  test.each(refused)("refused: %s", (_what, bad) => {
    const { headers, invalid } = headerNames(bad);
    expect(headers).toEqual([]);
    expect(invalid).toBeString();
  });

  const fine: Tool["inputSchema"][] = [
    {},
    { properties: { "x-mcp-header": { type: "string" } } },
    { properties: { a: { type: "object", default: { "x-mcp-header": "A" }, enum: [{ "x-mcp-header": "B" }] } } },
    { properties: { a: { type: "object", default: { b: prop("A") }, const: { b: prop("A") } } } },
  ];
  test.each(fine)("no headers in %j", (none) => expect(headerNames(none)).toEqual({ headers: [], invalid: null }));

  test("a cyclic schema is refused, not followed", () => {
    const loop: Record<string, unknown> = { type: "object" };
    loop.properties = { loop };
    expect(headerNames(loop).invalid).toBeString();
  });

  test("a schema with too many subschemas is refused", () => {
    const wide = (parts: number) => ({
      properties: Object.fromEntries(Array.from({ length: parts }, (_, i) => [i, {}])),
    });
    expect(headerNames(wide(9_999)).invalid).toBeNull();
    expect(headerNames(wide(10_000)).invalid).toBe("the schema is too large to be checked");
  });
});

describe("mirrored arguments", () => {
  const args = { region: "eu", limit: 42, where: { dry: false }, other: "x" };
  const sent = { "Mcp-Param-Region": "eu", "Mcp-Param-Limit": "42", "Mcp-Param-Dry-Run": "false" };

  test("are sent as headers", () => {
    expect(paramHeaders(schema, call(args))).toEqual(sent);
    expect(paramHeaders(schema, call('{"region":null,"limit":1e400,"where":[]}'))).toEqual({});
    expect(paramHeaders(schema, call({ region: "世" }))).toEqual({ "Mcp-Param-Region": "=?base64?5LiW?=" });
    expect(paramHeaders(schema, call('{"__proto__":{"region":"eu"}}'))).toEqual({});
  });

  test.each(["9007199254740993", "-12345678901234567890", "1".repeat(400)])("%s keeps every digit", (limit) => {
    expect(paramHeaders(schema, call(`{"where":{"limit":1},"limit":${limit}}`))).toEqual({ "Mcp-Param-Limit": limit });
  });

  test.each(["1e30", "1.0E+30", "1000000000000000019884624838656.0"])(
    "%s is sent as the integer value of its float",
    (limit) => {
      const digits = "1000000000000000019884624838656";
      expect(paramHeaders(schema, call(`{"limit":${limit}}`))).toEqual({ "Mcp-Param-Limit": digits });
      // A Python client writes it differently.
      expect(() => checkParamHeaders({ "mcp-param-limit": "1e+30" }, schema, call(`{"limit":${limit}}`))).not.toThrow();
    },
  );

  const good: [headers: Record<string, string>, args: unknown][] = [
    [sent, args],
    [{ ...sent, "Mcp-Param-Limit": "42.0" }, args],
    [{ ...sent, "Mcp-Param-Region": "=?base64?ZXU=?=" }, args],
    [{ ...sent, "Mcp-Param-Unknown": "1" }, args],
    [{ "Mcp-Param-Region": "eu" }, {}],
    [{}, { region: null }],
    [{ "Mcp-Param-Limit": "9007199254740993" }, '{"limit":9007199254740993}'],
    [{}, '{"limit":9007199254740993}'],
  ];
  test.each(good)("S02: %j match %j", (headers, value) => {
    expect(() => checkParamHeaders(readParamHeaders(new Headers(headers)), schema, call(value))).not.toThrow();
  });

  const bad: [headers: Record<string, string>, args: unknown][] = [
    [{}, { region: "eu" }],
    [{ "Mcp-Param-Region": "us" }, { region: "eu" }],
    [{ "Mcp-Param-Region": "EU" }, { region: "eu" }],
    [{ "Mcp-Param-Region": "eu, eu" }, { region: "eu" }],
    [{ "Mcp-Param-Region": "=?base64?ZXU?=" }, { region: "eu" }],
    [{ "Mcp-Param-Limit": "0x2a" }, { limit: 42 }],
    [{ "Mcp-Param-Limit": "43" }, { limit: 42 }],
    [{ "Mcp-Param-Limit": "42" }, { limit: "42 " }],
    [{ "Mcp-Param-Limit": "9007199254740992" }, '{"limit":9007199254740993}'],
    [{ "Mcp-Param-Dry-Run": "False" }, { where: { dry: false } }],
  ];
  test.each(bad)("S02: %j do not match %j", (headers, value) => {
    const received = readParamHeaders(new Headers(headers));
    expectFailure(() => checkParamHeaders(received, schema, call(value)), "header-mismatch");
  });
});
