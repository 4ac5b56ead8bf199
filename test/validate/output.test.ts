import { describe, expect, test } from "bun:test";
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/ajv";
import { createValidator } from "../../src/validate/validate.ts";
import { stillClock } from "../support/principal.ts";

// Clients on the 1.x SDK compile every outputSchema when they list tools, and the whole list fails if one does.

const { refusesOutput } = createValidator(stillClock());

function compiles(schema: Record<string, unknown>): boolean {
  try {
    return Boolean(new AjvJsonSchemaValidator().getValidator({ type: "object", ...schema }));
  } catch {
    return false;
  }
}

const member = (schema: unknown) => ({ properties: { a: schema } });

describe("an outputSchema is refused if a legacy client fails to compile it", () => {
  test.each<Record<string, unknown>>([
    member({ $ref: "#/nope" }),
    member({ $ref: "http://example.org/s" }),
    member({ type: "string", pattern: "[" }),
    member({ type: "string", pattern: "\\-" }),
    member({ patternProperties: { "(?i)a": { type: "string" } } }),
    member({ type: "any" }),
    member({ enum: [] }),
    member({ nullable: true, allOf: [{ type: "string" }] }),
    member({ type: ["null", "string"], nullable: false }),
    member({ id: "x" }),
    member({ type: "string", formatMinimum: "2020-01-01" }),
    member({ additionalItems: 1 }),
    member({ minimum: 1, exclusiveMinimum: true }),
    member(null),
    { properties: null },
    { required: null },
    { required: "a" },
    { $id: 5 },
    { $schema: "http://json-schema.org/draft-07/schema#", ...member({ $anchor: "5" }) },
    { $schema: "https://json-schema.org/draft/2019-09/schema", ...member({ $anchor: "a:b" }) },
    { components: { a: { b: { $dynamicAnchor: "" } } } },
    { components: { $anchor: "a" }, links: { $dynamicAnchor: "a" } },
    { components: { $id: "a" }, links: { $id: "a#" } },
    { $anchor: "a", ...member({ $ref: "#a" }) },
    { ...member({ $ref: "#a" }), prefixItems: [{ $anchor: "a" }] },
  ])("%j", (schema) => {
    expect(compiles(schema)).toBe(false);
    expect(refusesOutput({ type: "object", ...schema })).toBeString();
  });

  test.each<Record<string, unknown>>([
    {},
    { properties: { a: true }, required: ["a"] },
    member({ type: "string", pattern: "^(?=x)x\\d{2}$", format: "date-time" }),
    member({ type: "string", nullable: true }),
    { properties: { a: { $ref: "#/$defs/A" } }, $defs: { A: { enum: [1, "a", null] } } },
    member({ type: "string", deprecated: "yes" }),
    { $schema: "http://json-schema.org/draft-04/schema#" },
    { properties: { $id: { type: "string" }, $anchor: { $anchor: "a" } }, components: { $anchor: "b" } },
    member({ properties: { a: { $ref: "#/properties/a" } } }),
    { ...member({ $ref: "#a" }), anyOf: [{ $anchor: "a" }], examples: [{ $id: "1" }, { $id: "1" }] },
    { $schema: "http://json-schema.org/draft-07/schema#", $id: "https://example.org/s" },
    { $schema: "https://json-schema.org/draft/2020-12/schema", prefixItems: [{}], unevaluatedProperties: false },
  ])("%j is not", (schema) => {
    expect(compiles(schema)).toBe(true);
    expect(refusesOutput({ type: "object", ...schema })).toBeNull();
  });

  // Clients follow the reference until their stack overflows, which can take seconds.
  test.each<Record<string, unknown>>([
    member({ $ref: "#/properties/a" }),
    { ...member({ $ref: "#/$defs/x" }), $defs: { x: { $ref: "#/$defs/y" }, y: { $ref: "#/$defs/x", title: "y" } } },
  ])("a schema that refers to itself is refused: %j", (schema) => {
    expect(refusesOutput({ type: "object", ...schema })).toBe("has a reference to itself");
  });

  test("a dialect with the name of an inherited object member is refused", () => {
    expect(refusesOutput({ type: "object", $schema: "constructor" })).toStartWith(
      'names the unknown dialect "constructor"',
    );
  });

  // Clients on an older Zod copy a schema member by member, so the members of this one become the schema's own.
  test("a schema with a member __proto__ is refused", () => {
    const schema = JSON.parse('{"type":"object","__proto__":{"pattern":"["}}') as Record<string, unknown>;
    expect(refusesOutput(schema)).toBe("has a __proto__ that validators reject");
  });
});

test("an outputSchema that is listed repeatedly is judged once", () => {
  let looks = 0;
  const judge = (): unknown => {
    looks = 0;
    return refusesOutput({
      type: "object",
      get required() {
        looks++;
        return ["seen", 1];
      },
    });
  };
  const first = judge();
  expect(first).toStartWith("is not a valid schema: /required");
  expect(looks).toBeGreaterThan(1);
  expect(judge()).toBe(first);
  expect(looks).toBe(1);
});
