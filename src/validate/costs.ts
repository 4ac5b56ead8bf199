import { subschemas } from "../mcp/subschemas.ts";

/** A JSON Schema that is an object. */
export type Schema = Record<string, unknown>;

/** A schema of a choice that does not fit makes an error. */
const ofTrial = 5;
/** What a reference leads to is called, and its errors are copied. */
const ofCall = 100;
/** `contains` keeps an error of each item that does not fit. */
const ofSearch = 200;
const ofCharacter = 1 / 16;
const ofName = 10;
/** The parts of a schema of usual size. The code of a large one is too long to be optimised. */
const usual = 50;
/** Parts that take so few steps are counted with their whole, whether it comes to them or not. */
const mostAbsorbed = 16;

/** Keywords whose schema is held against any number of values; that of other keywords is held against one. */
const repeated = new Set(
  `items contains additionalItems unevaluatedItems additionalProperties patternProperties propertyNames
  unevaluatedProperties`.split(/\s+/),
);
/** Keywords with values to compare with. */
const compared = ["enum", "const", "required", "dependentRequired", "dependencies"];
/** Keywords with names that are looked up in each object. */
const lookedUp = ["properties", "dependentSchemas", "dependencies"];
/** Keywords that read a whole text, and all names of an object. */
const readers = {
  string: ["maxLength", "minLength"],
  object: `maxProperties minProperties propertyNames additionalProperties patternProperties
  unevaluatedProperties`.split(/\s+/),
};

/** Types whose values have parts: characters, items or members. */
const partTypes = ["string", "array", "object"] as const;
export type PartType = (typeof partTypes)[number];

/** The keyword that holds the steps for each part of a value of this type. */
export const perPart = (type: PartType): string => `mcpgw-${type}`;

/** The steps to compare a value with this one. */
function sizeOf(value: unknown): number {
  if (typeof value === "string") return 1 + Math.floor(value.length * ofCharacter);
  if (Array.isArray(value)) return value.reduce<number>((sum, each) => sum + sizeOf(each), 1);
  if (typeof value !== "object" || value === null) return 1;
  return Object.entries(value).reduce((sum, [key, each]) => sum + sizeOf(key) + sizeOf(each), 1);
}

const lengthOf = (list: unknown): number => (Array.isArray(list) ? list.length : 0);

const has = (schema: Schema, keywords: readonly string[]): boolean => keywords.some((keyword) => keyword in schema);

/**
 * Notes in each schema how many steps a look at a value takes, as its `$comment`: for that alone validators have a hook
 * before all else that they do. Each schema stands before its parts; `targets` are those that references lead to.
 */
export function addCosts(all: ReadonlySet<Schema>, targets: ReadonlySet<unknown>): void {
  // A whole number, since counting others takes several times as long.
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
      if (ofPart > mostAbsorbed || targets.has(part) || (repeated.has(keyword) && !isItem)) continue;
      delete part["$comment"];
      if (isItem) perItem += ofPart;
      else steps += ofPart;
    }
    schema["$comment"] = steps;
    // Those that a server wrote itself would lift the bound.
    for (const type of partTypes) delete schema[perPart(type)];
    if (perItem > 0) schema[perPart("array")] = perItem;
    if (has(schema, readers.string)) schema[perPart("string")] = ofCharacter;
    if (has(schema, readers.object)) schema[perPart("object")] = ofName;
  }
}
