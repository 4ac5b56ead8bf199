import { orNull, thrownBy } from "../core/attempt.ts";
import { isObject } from "../core/json.ts";
import { parts } from "../mcp/subschemas.ts";
import { addCosts, type Schema } from "./costs.ts";
import { type Dialect, schemaFault } from "./metaschema.ts";
import { createUsable } from "./pattern.ts";

// Tool schemas come from upstreams: each bound keeps a single schema from costing too much.
const maxDepth = 64;
const maxSubschemas = 1000;
const maxBytes = 256 * 1024;

/** A schema that cannot be used; the message completes "its inputSchema …". */
export class SchemaError extends Error {}

export type PreparedSchema = {
  /** A copy without the patterns that no linear matcher can match. */
  readonly schema: Schema;
  readonly dialect: Dialect;
  readonly ignoredPatterns: readonly string[];
  /** How many schemas it consists of. */
  readonly size: number;
  /** Whether a reference leads to itself, by way of references alone. */
  readonly loops: boolean;
};

// Without the scheme. Whatever draft-06 demands, draft-07 does; of draft-04, flags of bounds are rewritten.
const dialects = new Map<string, Dialect>([
  ["json-schema.org/draft/2020-12/schema", "2020-12"],
  ["json-schema.org/draft/2019-09/schema", "2019-09"],
  ["json-schema.org/draft-07/schema", "draft-07"],
  ["json-schema.org/draft-06/schema", "draft-07"],
  ["json-schema.org/draft-04/schema", "draft-07"],
]);

function refuseDeep(value: unknown, left: number): void {
  if (left < 0) throw new SchemaError(`is nested deeper than ${maxDepth}`);
  if (typeof value !== "object" || value === null) return;
  for (const each of Object.values(value)) refuseDeep(each, left - 1);
}

function withSubschemas(root: Schema, most = maxSubschemas): Schema[] {
  const found = [root];
  // Validators write code for booleans and for the names of dependencies too, of which there can be very many; not so
  // of the booleans of `additionalProperties` and its like.
  let count = 1;
  const add = (part: unknown): void => {
    count += Array.isArray(part) ? part.length : 1;
    if (count > most) throw new SchemaError(`has more than ${maxSubschemas} subschemas`);
    if (isObject(part)) found.push(part);
  };
  for (const schema of found) {
    for (const { schema: part, keyword } of parts(schema)) if (isObject(part) || part !== schema[keyword]) add(part);
    Object.values(Object(schema["dependentRequired"])).filter(Array.isArray).forEach(add);
  }
  return found;
}

function namedDialect({ $schema }: Schema): Dialect | null {
  if ($schema === undefined) return null;
  const dialect = typeof $schema === "string" ? dialects.get($schema.replace(/^https?:\/\/|#$/g, "")) : undefined;
  if (dialect) return dialect;
  const known = "2020-12, 2019-09, draft-07, draft-06 and draft-04";
  throw new SchemaError(`names the dialect ${JSON.stringify($schema)}; known are ${known}`);
}

/**
 * The dialect of a schema that names none: 2020-12, but servers from before MCP said so mean an older one, whose lists
 * of `items` 2020-12 does not have. Then it is 2019-09, which demands all that the drafts before it do.
 */
function likelyDialect(schema: Schema, all: Iterable<Schema>): Dialect {
  if (schemaFault(schema, "2020-12") === null || schemaFault(schema, "2019-09") !== null) return "2020-12";
  // The one would not be held against arguments, the other may allow what older drafts do not.
  return [...all].some((each) => "prefixItems" in each || "minContains" in each) ? "2020-12" : "2019-09";
}

function follow(root: Schema, ref: string): unknown {
  let value: unknown = root;
  for (const part of ref.split("/").slice(1)) {
    const key = decode(part).replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
    value = Reflect.get(value, key);
  }
  return value;
}

function decode(part: string): string {
  const decoded = orNull(() => decodeURIComponent(part));
  if (decoded === null) throw new SchemaError(`refers to a malformed pointer ${JSON.stringify(part)}`);
  return decoded;
}

/** A keyword of a schema that refers to another part of it. */
type Reference = { readonly schema: Schema; readonly keyword: string; readonly target: Schema | boolean };

// Only references to subschemas of the schema itself: nothing is ever loaded, data stays data, and no nested `$id`
// changes the meaning of `#`.
function* referencesOf(
  root: Schema,
  all: ReadonlySet<Schema>,
  schema: Schema,
  anchors: ReadonlyMap<unknown, Schema>,
): Generator<Reference> {
  for (const keyword of ["$ref", "$dynamicRef", "$recursiveRef"]) {
    const ref = schema[keyword];
    if (ref === undefined) continue;
    if (typeof ref !== "string" || !ref.startsWith("#") || (keyword === "$recursiveRef" && ref !== "#")) {
      throw new SchemaError(`refers to ${JSON.stringify(ref)}; only references within the schema are followed`);
    }
    const target = ref === "#" || ref.startsWith("#/") ? follow(root, ref) : anchors.get(ref.slice(1));
    if (typeof target !== "boolean" && !(isObject(target) && all.has(target))) {
      throw new SchemaError(`refers to ${JSON.stringify(ref)}, which is no schema in it`);
    }
    yield { schema, keyword, target };
  }
}

function hasLoop(references: readonly Reference[]): boolean {
  const plain = references.filter(({ keyword }) => keyword === "$ref");
  const targets = new Map<unknown, unknown>(plain.map(({ schema, target }) => [schema, target]));
  return plain.some(({ schema, target }) => {
    let at: unknown = target;
    for (let left = targets.size; left > 0 && at !== schema; left--) at = targets.get(at);
    return at === schema;
  });
}

/** Keywords that demand nothing of a value, so that a mistake in one is none in the schema. */
const annotations = `title description default examples deprecated readOnly writeOnly $comment format contentMediaType
  contentEncoding`.split(/\s+/);

/** Of draft-04, where a flag makes the bound beside it exclusive. */
function rewriteFlags(schema: Schema): void {
  for (const bound of ["minimum", "maximum"]) {
    const flag = `exclusiveM${bound.slice(1)}`;
    if (schema[flag] === false) delete schema[flag];
    if (schema[flag] !== true || !(bound in schema)) continue;
    schema[flag] = schema[bound];
    delete schema[bound];
  }
}

// Keywords that mean something to validators only: `$async` would make one answer later, that is, never; they throw at
// a `nullable` that adds nothing to a type.
function checkKeywords(schema: Schema): void {
  if ("$async" in schema) throw new SchemaError("is marked $async");
  if (typeof schema["$id"] === "string") throw new SchemaError("has a nested $id");
  if (schema["type"] === undefined || schema["nullable"] !== true) delete schema["nullable"];
  for (const keyword of annotations) delete schema[keyword];
  rewriteFlags(schema);
}

/**
 * Moves what is referred to into definitions of the root, with a `$ref` in its place; all references lead there then.
 * Validators take many dynamic ones for others, though they lead where plain ones do, since no part has an `$id`; they
 * find no anchor of the root; and they compile what is in several targets with each of them. Returns the targets.
 */
function redirect(root: Schema, all: ReadonlySet<Schema>, references: readonly Reference[]): Set<Schema> {
  for (const each of all) for (const key of ["$anchor", "$dynamicAnchor", "$recursiveAnchor"]) delete each[key];
  const targets = new Set(references.map(({ target }) => target).filter((target) => isObject(target)));
  const anchors = new Map([...targets].map((target, i) => [target, target === root ? "" : `mcpgw-t${i}`]));
  for (const { schema, keyword, target } of references) {
    const to = isObject(target) ? { $ref: `#${anchors.get(target)}` } : target;
    delete schema[keyword];
    if (keyword === "$ref" && isObject(to)) Object.assign(schema, to);
    else schema["allOf"] = [...(Array.isArray(schema["allOf"]) ? schema["allOf"] : []), to];
  }
  const moved = [...anchors]
    .filter(([target]) => target !== root)
    .map(([target, $anchor]): [string, Schema] => {
      const copy = { ...target, $anchor };
      for (const key of Object.keys(target)) delete target[key];
      target["$ref"] = `#${$anchor}`;
      return [$anchor, copy];
    });
  if (moved.length > 0) root["$defs"] = { ...Object(root["$defs"]), ...Object.fromEntries(moved) };
  return new Set([...moved.map(([, copy]) => copy), ...(targets.has(root) ? [root] : [])]);
}

// 2020-12 allows a choice of nothing, at which validators throw.
function replaceEmptyEnum(schema: Schema): void {
  if (!Array.isArray(schema["enum"]) || schema["enum"].length > 0) return;
  delete schema["enum"];
  schema["not"] = {};
}

function dropPatterns(schema: Schema, usable: (source: string) => boolean, ignored: Set<string>): void {
  const { pattern, patternProperties } = schema;
  if (typeof pattern === "string" && !usable(pattern)) {
    ignored.add(pattern);
    delete schema["pattern"];
  }
  if (!isObject(patternProperties)) return;
  for (const key of Object.keys(patternProperties).filter((each) => !usable(each))) {
    ignored.add(key);
    delete patternProperties[key];
    // Nobody knows which members the ignored pattern admitted, so none may be called superfluous.
    for (const rest of ["additionalProperties", "unevaluatedProperties"]) delete schema[rest];
  }
}

/** Keywords at which validators of legacy clients throw, and when. */
const throwing: Readonly<Record<string, (schema: Schema) => boolean>> = {
  id: ({ id }) => id !== undefined,
  // Clients on an older Zod make its members keywords.
  ["__proto__"]: (schema) => Object.hasOwn(schema, "__proto__"),
  nullable: ({ nullable, type }) =>
    nullable !== undefined &&
    (typeof nullable !== "boolean" || type === undefined || (!nullable && [type].flat().includes("null"))),
  "format…": (schema) => Object.keys(schema).some((key) => /^format(Exclusive)?M(in|ax)imum$/.test(key)),
  pattern: ({ pattern }) => typeof pattern === "string" && !isPattern(pattern),
  patternProperties: ({ patternProperties }) => !Object.keys(Object(patternProperties)).every(isPattern),
};

const anchorName = /^[a-z_][-a-z0-9._]*$/i;
const listed = new Set(["items", "allOf", "anyOf", "oneOf"]);

/** The objects in which validators of legacy clients look for names of parts: those under unknown keywords too. */
function* nameable(value: unknown, keyword: string): Generator<Schema> {
  const isList = Array.isArray(value);
  if (isList ? !listed.has(keyword) : !isObject(value)) return;
  if (isObject(value)) yield value;
  for (const [key, each] of Object.entries(Object(value))) yield* nameable(each, isList ? "" : key);
}

/** They throw at a name that is odd, comes twice or is missing; for one of the root they do not look. */
function nameFault(schema: Schema): string | null {
  const parts = Object.entries(schema).flatMap(([keyword, each]) => [...nameable(each, keyword)]);
  const known = new Set<string>();
  for (const part of parts) {
    if (typeof part["$id"] === "string") return "has a nested $id";
    for (const name of [part["$anchor"], part["$dynamicAnchor"]]) {
      if (typeof name !== "string") continue;
      if (!anchorName.test(name) || known.has(name)) return "has an $anchor that validators refuse";
      known.add(name);
    }
  }
  const isMissing = ({ $ref }: Schema) => typeof $ref === "string" && /^#[^/]/.test($ref) && !known.has($ref.slice(1));
  return [schema, ...parts].some(isMissing) ? "has a reference to an $anchor that validators do not find" : null;
}

const isPattern = (source: string): boolean => thrownBy(() => new RegExp(source, "u")) === null;

/**
 * Why validators of legacy clients, which know draft-07 and take a schema as it is, could not compile it; null if they
 * could. What `prepareSchema` repairs in its copy is a fault here.
 */
export function asIsFault(schema: Schema): string | null {
  try {
    if (prepareSchema(schema).loops) return "has a reference to itself";
  } catch (error) {
    if (error instanceof SchemaError) return error.message;
    throw error;
  }
  const fault = schemaFault(schema, "draft-07");
  if (fault !== null) return `is no schema of draft-07:${fault.startsWith("/") ? " " : " it"}${fault}`;
  for (const each of withSubschemas(schema)) {
    const keyword = Object.keys(throwing).find((one) => throwing[one]?.(each));
    if (keyword !== undefined) return `has a ${keyword} that validators refuse`;
  }
  return nameFault(schema);
}

/** Checks an untrusted input schema and makes the copy that may be compiled. Throws SchemaError. */
export function prepareSchema(input: Schema): PreparedSchema {
  if (input["type"] !== "object") throw new SchemaError('must be a schema with "type": "object"');
  refuseDeep(input, maxDepth);
  const text = JSON.stringify(input);
  if (text.length > maxBytes) throw new SchemaError(`is longer than ${maxBytes / 1024} KiB`);
  const named = namedDialect(input);
  const schema = JSON.parse(text) as Schema; // a copy of an object
  delete schema["$id"];
  delete schema["$schema"];
  const all = new Set(withSubschemas(schema));
  const anchored = [...all].flatMap((each) =>
    [each["$anchor"], each["$dynamicAnchor"]].filter(Boolean).map((anchor) => [anchor, each] as const),
  );
  const anchors = new Map(anchored);
  if (anchors.size < anchored.length) throw new SchemaError("has an $anchor twice");
  const ignored = new Set<string>();
  const usable = createUsable();
  const references: Reference[] = [];
  for (const each of all) {
    checkKeywords(each);
    references.push(...referencesOf(schema, all, each, anchors));
  }
  const dialect = named ?? likelyDialect(schema, all);
  const fault = schemaFault(schema, dialect);
  if (fault !== null) throw new SchemaError(`is no valid schema:${fault.startsWith("/") ? " " : " it"}${fault}`);
  // References may lead to what goes with an ignored pattern, and faults may be in it.
  for (const each of all) dropPatterns(each, usable, ignored);
  all.forEach(replaceEmptyEnum);
  const loops = hasLoop(references);
  // Draft-07 has but the plain one.
  const known = dialect === "draft-07" ? references.filter(({ keyword }) => keyword === "$ref") : references;
  const targets = redirect(schema, all, known);
  addCosts(new Set(withSubschemas(schema, Infinity)), targets);
  return { schema, dialect, ignoredPatterns: [...ignored], size: all.size, loops };
}
