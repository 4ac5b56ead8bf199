import { z } from "zod";
import type { Path } from "../core/finding.ts";
import { isObject } from "../core/json.ts";
import { configSchema } from "./schema.ts";

type Schema = z.core.JSONSchema.JSONSchema;

let made: Schema | null = null;

/** Returns the JSON Schema (2020-12) of the configuration file, for editors and generators. */
export function jsonSchema(): Schema {
  made ??= withReferences(z.toJSONSchema(configSchema, { io: "input", target: "draft-2020-12" }));
  return made;
}

/** Adds a `${…}` reference as an alternative to every scalar that is not an arbitrary string. */
function withReferences(schema: Schema): Schema {
  for (const value of Object.values(schema.properties ?? {})) if (isSchema(value)) withReferences(value);
  for (const value of [schema.items, schema.additionalProperties]) if (isSchema(value)) withReferences(value);
  const options = (schema.anyOf ?? []).filter(isSchema);
  for (const option of options) if (!isScalar(option)) withReferences(option);
  if (options.length > 0) {
    if (options.some(isScalar) && !options.some(isAnyText)) schema.anyOf = [...options, reference];
    return schema;
  }
  if (!isScalar(schema) || isAnyText(schema)) return schema;
  const own = Object.fromEntries(Object.entries(schema).filter(([key]) => key !== "description" && key !== "default"));
  for (const key of Object.keys(own)) delete schema[key];
  return Object.assign(schema, { anyOf: [own, reference] });
}

const reference: Schema = { type: "string", pattern: "\\$\\{" };

const isScalar = ({ type, properties, items }: Schema): boolean =>
  type !== "object" && type !== "array" && properties === undefined && items === undefined;

const isAnyText = ({ type, ...rest }: Schema): boolean =>
  type === "string" && !["pattern", "format", "enum", "const"].some((key) => key in rest);

function isSchema(value: unknown): value is Schema {
  return isObject(value);
}

/** Returns the keys that the configuration allows at `path`. */
export function keysAt(path: Path): string[] {
  let here: Schema[] = alternatives(jsonSchema());
  for (const key of path) here = here.flatMap((option) => alternatives(below(option, key)));
  return [...new Set(here.flatMap((option) => Object.keys(option.properties ?? {})))];
}

function alternatives(schema: Schema | null): Schema[] {
  if (!schema) return [];
  return [schema, ...(schema.anyOf ?? []).filter(isSchema)];
}

function below(schema: Schema, key: PropertyKey): Schema | null {
  const next =
    typeof key === "number" ? schema.items : (schema.properties?.[String(key)] ?? schema.additionalProperties);
  return isSchema(next) ? next : null;
}
