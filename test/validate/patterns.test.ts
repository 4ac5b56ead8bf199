import { describe, expect, test } from "bun:test";
import { makeRoute, makeTool } from "../support/call.ts";
import { object, prop, setUp } from "../support/validator.ts";

const names = (count: number) => Array.from({ length: count }, (_, i) => `p${i}`);

describe("patterns", () => {
  test("a pattern that backtracks exponentially elsewhere is matched in linear time", () => {
    const { wrong } = setUp();
    expect(wrong(prop({ pattern: "^(a+)+$" }), { a: `${"a".repeat(50_000)}!` }).message).toContain(
      "must match pattern",
    );
  });
  // Each takes up to a second to compile.
  test.each([
    "(a{0,999})".repeat(90),
    "((a?){0,31}){0,31}".repeat(50),
    `(?i)${"[ -\uffff]".repeat(160)}`,
    "[^\\p{L}]".repeat(110),
    `(${"()|".repeat(300)}){999}`,
    `(${"^".repeat(480)}){999}`,
  ])("S05 very many of %p are judged in bounded time", (source) => {
    const { validator } = setUp();
    const properties = Object.fromEntries(names(250).map((name) => [name, { pattern: source + name }]));
    expect(validator.unchecked(makeTool("get", object({ properties }))).length).toBeGreaterThan(200);
  });
  test("many patterns of typical size, some repeated, are all checked", () => {
    const { wrong, validator } = setUp();
    const uuid = "^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";
    const properties = Object.fromEntries(
      names(800).map((name, i) => [name, { pattern: i < 60 ? `^${name}-[\\w.]{1,128}$` : uuid }]),
    );
    expect(validator.unchecked(makeTool("get", object({ properties })))).toEqual([]);
    for (const name of ["p0", "p59", "p799"])
      expect(wrong(object({ properties }), { [name]: "x" }).message).toContain(`arguments/${name} must match pattern`);
  });
  test("a text too long to be matched within the limit is not checked", () => {
    const { check, wrong } = setUp();
    const schema = prop({ pattern: "^(data:[a-z]+/[a-z0-9.+-]+;base64,)?[A-Za-z0-9+/=]+$" });
    check(schema, { a: "A".repeat(1_500_000) });
    expect(wrong(schema, { a: `${"A".repeat(50_000)}!` }).message).toContain("must match pattern");
  });
  test("a pattern that needs backtracking is ignored and reported", () => {
    const { check, validator } = setUp();
    const schema = {
      ...prop({ pattern: "(?=x)x" }),
      patternProperties: { "(a)\\1": false },
      additionalProperties: false,
    };
    const route = makeRoute("crm", "get", schema);
    check(schema, { a: "y", aa: 1 }, route);
    check(schema, { a: "y" }, makeRoute("crm", "get", structuredClone(schema)));
    // Operators see each ignored pattern with its tool.
    expect(route.tool && validator.unchecked(route.tool)).toEqual(["(a)\\1", "(?=x)x"]);
  });
  test.each(["#/additionalProperties", "#/patternProperties/(?=x)"])(
    "a reference to a part dropped with a pattern still works: %s",
    ($ref) => {
      const schema = {
        ...prop({ $ref }),
        patternProperties: { "(?=x)": { type: "string" } },
        additionalProperties: { type: "string" },
      };
      const { check, wrong } = setUp();
      check(schema, { a: "x", b: 1 });
      expect(wrong(schema, { a: 1 }).message).toContain("arguments/a must be string");
    },
  );
});
