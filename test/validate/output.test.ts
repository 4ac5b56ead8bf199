import { describe, expect, test } from "bun:test";
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/ajv";
import { createValidator } from "../../src/validate/validate.ts";
import { stillClock } from "../support/principal.ts";

// Clients of the 1.x line compile every outputSchema while they list tools, and fail with the list.

const { refusesOutput } = createValidator(stillClock());

function compiles(schema: Record<string, unknown>): boolean {
  try {
    return Boolean(new AjvJsonSchemaValidator().getValidator({ type: "object", ...schema }));
  } catch {
    return false;
  }
}

const member = (schema: unknown) => ({ properties: { a: schema } });

describe("an outputSchema is refused where a legacy client fails to compile it", () => {
  test.each([
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
  ])("%j", (schema) => {
    expect(compiles(schema)).toBe(false);
    expect(refusesOutput({ type: "object", ...schema })).toBeString();
  });

  test.each([
    {},
    { properties: { a: true }, required: ["a"] },
    member({ type: "string", pattern: "^(?=x)x\\d{2}$", format: "date-time" }),
    member({ type: "string", nullable: true }),
    { properties: { a: { $ref: "#/$defs/A" } }, $defs: { A: { enum: [1, "a", null] } } },
    member({ type: "string", deprecated: "yes" }),
    { $schema: "http://json-schema.org/draft-04/schema#" },
    { $schema: "http://json-schema.org/draft-07/schema#", $id: "https://example.org/s" },
    { $schema: "https://json-schema.org/draft/2020-12/schema", prefixItems: [{}], unevaluatedProperties: false },
  ])("%j is not", (schema) => {
    expect(compiles(schema)).toBe(true);
    expect(refusesOutput({ type: "object", ...schema })).toBeNull();
  });

  test("one of a dialect with the name of what every object inherits is refused", () => {
    expect(refusesOutput({ type: "object", $schema: "constructor" })).toStartWith('names the dialect "constructor"');
  });

  // Clients on an older Zod copy a schema member by member, by which those of this one become its own.
  test("one with a member __proto__ is refused", () => {
    const schema = JSON.parse('{"type":"object","__proto__":{"pattern":"["}}') as Record<string, unknown>;
    expect(refusesOutput(schema)).toBe("has a __proto__ that validators refuse");
  });
});
