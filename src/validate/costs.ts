import { subschemas } from "../mcp/subschemas.ts";

/** A JSON Schema that is an object. */
export type Schema = Record<string, unknown>;

/** Each alternative of a choice that does not match creates an error. */
const ofTrial = 5;
/** The target of a reference is called, and its errors are copied. */
const ofCall = 100;
/** `contains` keeps an error for each item that does not match. */
const ofSearch = 200;
const ofCharacter = 1 / 16;
const ofName = 10;
/** Number of parts of a typical schema. The code of a large one is too long to be optimized. */
const usual = 50;
/** Maximum steps of a part that is counted with the whole, whether or not it is reached. */
const maxAbsorbedSteps = 16;

/** Keywords whose schema is applied to any number of values; that of other keywords is applied to one. */
const repeated = new Set(
  `items contains additionalItems unevaluatedItems additionalProperties patternProperties propertyNames
  unevaluatedProperties`.split(/\s+/),
);
/** Keywords whose values are compared. */
const compared = ["enum", "const", "required", "dependentRequired", "dependencies"];
/** Keywords whose names are looked up in each object. */
const lookedUp = ["properties", "dependentSchemas", "dependencies"];
/** Keywords that read a whole string, or all names of an object. */
const readers = {
  string: ["maxLength", "minLength"],
  object: `maxProperties minProperties propertyNames additionalProperties patternProperties
  unevaluatedProperties`.split(/\s+/),
};

/** Types whose values have parts: characters, items or members. */
const partTypes = ["string", "array", "object"] as const;
export type PartType = (typeof partTypes)[number];

/** Returns the keyword that holds the steps for each part of a value of this type. */
export const perPart = (type: PartType): string => `mcpgw-${type}`;

/** Returns the number of steps to compare a value with this one. */
function sizeOf(value: unknown): number {
  if (typeof value === "string") return 1 + Math.floor(value.length * ofCharacter);
  if (Array.isArray(value)) return value.reduce<number>((sum, each) => sum + sizeOf(each), 1);
  if (typeof value !== "object" || value === null) return 1;
  return Object.entries(value).reduce((sum, [key, each]) => sum + sizeOf(key) + sizeOf(each), 1);
}

const lengthOf = (list: unknown): number => (Array.isArray(list) ? list.length : 0);

const has = (schema: Schema, keywords: readonly string[]): boolean => keywords.some((keyword) => keyword in schema);

/**
 * Stores in each schema, as its `$comment`, how many steps one validation takes: only for that keyword do validators
 * have a hook that runs before everything else. In `all`, schemas precede their parts; references lead to `targets`.
 */
export function addCosts(all: ReadonlySet<Schema>, targets: ReadonlySet<unknown>): void {
  // An integer, since counting fractions takes several times as long.
  const slow = Math.ceil(all.size / usual);
  for (const schema of [...all].toReversed()) {
    const trials = lengthOf(schema["anyOf"]) + lengthOf(schema["oneOf"]);
    let steps = slow * (1 + ofTrial * trials + (targets.has(schema) ? ofCall : 0));
    for (const keyword of compared) if (keyword in schema) steps += sizeOf(schema[keyword]);
    for (const keyword of lookedUp) steps += Object.keys(Object(schema[keyword])).length;
    let perItem = "contains" in schema ? ofSearch : 0;
    for (const { schema: part, keyword } of subschemas(schema)) {
      const ofPart = Number(part["$comment"]);
      const isItem = part === schema["items"];
      if (ofPart > maxAbsorbedSteps || targets.has(part) || (repeated.has(keyword) && !isItem)) continue;
      delete part["$comment"];
      if (isItem) perItem += ofPart;
      else steps += ofPart;
    }
    schema["$comment"] = steps;
    // A server could write these keywords itself to evade the limit.
    for (const type of partTypes) delete schema[perPart(type)];
    if (perItem > 0) schema[perPart("array")] = perItem;
    if (has(schema, readers.string)) schema[perPart("string")] = ofCharacter;
    if (has(schema, readers.object)) schema[perPart("object")] = ofName;
  }
}
