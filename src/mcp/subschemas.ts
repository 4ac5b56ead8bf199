import { isObject } from "../core/json.ts";

// Where subschemas occur in the dialects from draft-06 to 2020-12. Everything else (const, enum, default …) is data.
/** Keywords whose value is a schema or a list of schemas. */
const inner = new Set(
  `items prefixItems additionalItems unevaluatedItems contains additionalProperties unevaluatedProperties propertyNames
  allOf anyOf oneOf not if then else contentSchema`.split(/\s+/),
);
/** Keywords whose value is an object of schemas. */
const named = new Set(["properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"]);

/** A schema directly inside another, and its keyword; `property` is its name under `properties`, else null. */
type Subschema<T = Record<string, unknown>> = {
  readonly schema: T;
  readonly keyword: string;
  readonly property: string | null;
};

/** Yields the direct subschemas of a JSON Schema that are objects. */
export function* subschemas(schema: Record<string, unknown>): Generator<Subschema> {
  for (const each of parts(schema)) if (isObject(each.schema)) yield { ...each, schema: each.schema };
}

/** Yields the values in the places of subschemas: schemas, booleans, name lists in `dependencies`, and mistakes. */
export function* parts(schema: Record<string, unknown>): Generator<Subschema<unknown>> {
  for (const [keyword, value] of Object.entries(schema)) {
    if (inner.has(keyword)) {
      for (const each of Array.isArray(value) ? value : [value]) yield { schema: each, keyword, property: null };
    } else if (named.has(keyword) && isObject(value)) {
      for (const [name, each] of Object.entries(value)) {
        yield { schema: each, keyword, property: keyword === "properties" ? name : null };
      }
    }
  }
}
