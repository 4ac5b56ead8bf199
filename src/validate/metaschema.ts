import { isObject, sortKeys } from "../core/json.ts";

// The metaschemas as tables: compiled by a validator, they would cost 9 MiB and a tenth of a second at startup.

/** Returns the place below a value where something is wrong, and how; null if nothing is. */
type Rule = (value: unknown) => string | null;
type Rules = Readonly<Record<string, Rule>>;

const rule =
  (what: string, fits: (value: unknown) => boolean): Rule =>
  (value) =>
    fits(value) ? null : ` must be ${what}`;

/** Applies a check to each member of an array or object. */
const each =
  (ofMember: (key: string, value: unknown) => string | null): Rule =>
  (value) => {
    for (const [key, member] of Object.entries(Object(value))) {
      const fault = ofMember(key, member);
      if (fault !== null) return `/${key}${fault}`;
    }
    return null;
  };

const both =
  (first: Rule, second: Rule): Rule =>
  (value) =>
    first(value) ?? second(value);

const listOr =
  (list: Rule, other: Rule): Rule =>
  (value) =>
    Array.isArray(value) ? list(value) : other(value);

const text = rule("a string", (value) => typeof value === "string");
const name = rule("a name", (value) => typeof value === "string" && /^[A-Za-z_][-A-Za-z0-9._]*$/.test(value));
const olderName = rule("a name", (value) => typeof value === "string" && /^[A-Za-z][-A-Za-z0-9.:_]*$/.test(value));
const flag = rule("true or false", (value) => typeof value === "boolean");
const number = rule("a number", (value) => typeof value === "number");
const positive = rule("a number greater than 0", (value) => typeof value === "number" && value > 0);
const count = rule("an integer that is 0 or greater", (value) => Number.isInteger(value) && Number(value) >= 0);
const list = rule("a list", Array.isArray);
const filled = rule("a non-empty list", (value) => Array.isArray(value) && value.length > 0);
const distinct = rule(
  "a list of distinct values",
  (value) => Array.isArray(value) && new Set(value.map((item) => JSON.stringify(item, sortKeys))).size === value.length,
);
const object = rule("an object", isObject);
const schemaObject = rule("an object or a boolean", isObject);

const listOf = (item: Rule): Rule => each((_, value) => item(value));
const mapOf = (member: Rule): Rule =>
  both(
    object,
    each((_, value) => member(value)),
  );

const types: readonly unknown[] = ["array", "boolean", "integer", "null", "number", "object", "string"];
const type = rule(`one of ${types.join(", ")}`, (value) => types.includes(value));
const names = both(distinct, listOf(text));

const all = (keywords: string, rule: Rule): Rules =>
  Object.fromEntries(keywords.split(/\s+/).map((keyword) => [keyword, rule]));

/** Keywords of all dialects; `default` and `const` may have any value. */
const common = (schema: Rule, schemas: Rule): Rules => ({
  ...all("$id $schema $ref $comment title description format pattern contentMediaType contentEncoding", text),
  ...all("uniqueItems readOnly", flag),
  ...all("maximum exclusiveMaximum minimum exclusiveMinimum", number),
  ...all("maxLength minLength maxItems minItems maxProperties minProperties", count),
  multipleOf: positive,
  examples: list,
  required: names,
  type: listOr(both(both(filled, distinct), listOf(type)), type),
  ...all("contains additionalProperties propertyNames if then else not", schema),
  ...all("allOf anyOf oneOf", schemas),
  ...all("properties patternProperties definitions", mapOf(schema)),
  dependencies: mapOf(listOr(names, schema)),
});

const draft07 = (schema: Rule, schemas: Rule): Rules => ({
  enum: both(filled, distinct),
  additionalItems: schema,
  items: listOr(schemas, schema),
});

/** Keywords introduced in 2019-09. */
const later = (schema: Rule): Rules => ({
  $recursiveRef: text,
  ...all("deprecated writeOnly", flag),
  ...all("maxContains minContains", count),
  enum: list,
  $vocabulary: mapOf(flag),
  dependentRequired: mapOf(names),
  ...all("unevaluatedItems unevaluatedProperties contentSchema", schema),
  ...all("$defs dependentSchemas", mapOf(schema)),
});

const draft2019 = (schema: Rule, schemas: Rule): Rules => ({
  ...draft07(schema, schemas),
  ...later(schema),
  $anchor: olderName,
  $recursiveAnchor: flag,
});

const draft2020 = (schema: Rule, schemas: Rule): Rules => ({
  ...later(schema),
  $dynamicRef: text,
  ...all("$anchor $dynamicAnchor $recursiveAnchor", name),
  items: schema,
  prefixItems: schemas,
});

function metaschema(own: typeof common): Rule {
  const keyword = (key: string, value: unknown): string | null => rules.get(key)?.(value) ?? null;
  const schema: Rule = (value) => (typeof value === "boolean" ? null : both(schemaObject, each(keyword))(value));
  const schemas = both(filled, listOf(schema));
  const rules = new Map(Object.entries({ ...common(schema, schemas), ...own(schema, schemas) }));
  return schema;
}

const metaschemas = {
  "2020-12": metaschema(draft2020),
  "2019-09": metaschema(draft2019),
  "draft-07": metaschema(draft07),
};

export type Dialect = keyof typeof metaschemas;

/** Returns where and how a schema breaks the rules of its dialect, or null. It may be nested 64 deep. */
export function schemaFault(schema: unknown, dialect: Dialect): string | null {
  return metaschemas[dialect](schema);
}
