import { orNull, thrownBy } from "../core/attempt.ts";
import { isObject } from "../core/json.ts";
import { parts } from "../mcp/subschemas.ts";
import { addCosts, type Schema } from "./costs.ts";
import { type Dialect, schemaFault } from "./metaschema.ts";
import { createUsable } from "./pattern.ts";

// Tool schemas come from upstreams: each limit keeps a single schema from costing too much.
const maxDepth = 64;
const maxSubschemas = 1000;
const maxBytes = 256 * 1024;

/** A schema that cannot be used; the message completes "its inputSchema …". */
export class SchemaError extends Error {}

export type PreparedSchema = {
  /** A copy without the patterns that a linear-time matcher cannot match. */
  readonly schema: Schema;
  readonly dialect: Dialect;
  readonly ignoredPatterns: readonly string[];
  /** Number of schemas it consists of. */
  readonly size: number;
  /** Whether a reference leads back to itself through references alone. */
  readonly loops: boolean;
};

// Keys have no URL scheme. Draft-07 requires all that draft-06 does; exclusive flags of draft-04 are rewritten.
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
  // Validators also generate code for booleans and for the names of dependencies, of which there can be very many, but
  // not for the booleans of `additionalProperties` and similar keywords.
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
  throw new SchemaError(`names the unknown dialect ${JSON.stringify($schema)}; supported are ${known}`);
}

/**
 * Returns the dialect of a schema that names none: 2020-12 by default, but servers older than that rule of MCP mean an
 * earlier draft, with lists in `items`. Then it is 2019-09, which requires everything that earlier drafts do.
 */
function likelyDialect(schema: Schema, all: Iterable<Schema>): Dialect {
  if (schemaFault(schema, "2020-12") === null || schemaFault(schema, "2019-09") !== null) return "2020-12";
  // 2019-09 would ignore `prefixItems`, and `minContains` may allow what older drafts do not.
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

/** A keyword of a schema that refers to another part of it, and the target. */
type Reference = { readonly schema: Schema; readonly keyword: string; readonly target: Schema | boolean };

// Only references to subschemas of the schema itself are followed: nothing is ever loaded, data is never treated as a
// schema, and no nested `$id` changes the meaning of `#`.
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
      throw new SchemaError(`refers to ${JSON.stringify(ref)}, which is not a schema in it`);
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

/** Keywords that constrain nothing, so that a mistake in one does not make the schema invalid. */
const annotations = `title description default examples deprecated readOnly writeOnly $comment format contentMediaType
  contentEncoding`.split(/\s+/);

/** Rewrites the boolean keywords of draft-04 that make the bound beside them exclusive. */
function rewriteFlags(schema: Schema): void {
  for (const bound of ["minimum", "maximum"]) {
    const flag = `exclusiveM${bound.slice(1)}`;
    if (schema[flag] === false) delete schema[flag];
    if (schema[flag] !== true || !(bound in schema)) continue;
    schema[flag] = schema[bound];
    delete schema[bound];
  }
}

// Keywords with a meaning only to validators: `$async` would make the result a promise, which nobody awaits, and
// validators throw on a `nullable` that adds nothing to a type.
function checkKeywords(schema: Schema): void {
  if ("$async" in schema) throw new SchemaError("is marked $async");
  if (typeof schema["$id"] === "string") throw new SchemaError("has a nested $id");
  if (schema["type"] === undefined || schema["nullable"] !== true) delete schema["nullable"];
  for (const keyword of annotations) delete schema[keyword];
  rewriteFlags(schema);
}

/**
 * Moves the targets of references into definitions of the root, leaves a `$ref` in their place, and points all
 * references to the definitions. Validators resolve many dynamic references differently, although they mean the same as
 * plain ones since no part has an `$id`; they do not find an anchor of the root; and they compile a part that is in
 * several targets once for each. Returns the targets.
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

// 2020-12 allows an empty enum, on which validators throw.
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
    // Which members the ignored pattern allowed is unknown, so no member may be rejected as additional.
    for (const rest of ["additionalProperties", "unevaluatedProperties"]) delete schema[rest];
  }
}

/** Keywords on which validators of legacy clients throw, with the condition. */
const throwing: Readonly<Record<string, (schema: Schema) => boolean>> = {
  id: ({ id }) => id !== undefined,
  // Clients on an older Zod treat its members as keywords.
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

/** Yields the objects, also under unknown keywords, in which legacy validators look for names of parts. */
function* nameable(value: unknown, keyword: string): Generator<Schema> {
  const isList = Array.isArray(value);
  if (isList ? !listed.has(keyword) : !isObject(value)) return;
  if (isObject(value)) yield value;
  for (const [key, each] of Object.entries(Object(value))) yield* nameable(each, isList ? "" : key);
}

/** Returns why legacy validators throw on the name of a part: malformed, duplicate, missing (never the root's). */
function nameFault(schema: Schema): string | null {
  const parts = Object.entries(schema).flatMap(([keyword, each]) => [...nameable(each, keyword)]);
  const known = new Set<string>();
  for (const part of parts) {
    if (typeof part["$id"] === "string") return "has a nested $id";
    for (const name of [part["$anchor"], part["$dynamicAnchor"]]) {
      if (typeof name !== "string") continue;
      if (!anchorName.test(name) || known.has(name)) return "has an $anchor that validators reject";
      known.add(name);
    }
  }
  const isMissing = ({ $ref }: Schema) => typeof $ref === "string" && /^#[^/]/.test($ref) && !known.has($ref.slice(1));
  return [schema, ...parts].some(isMissing) ? "has a reference to an $anchor that validators cannot find" : null;
}

const isPattern = (source: string): boolean => thrownBy(() => new RegExp(source, "u")) === null;

/**
 * Returns why legacy clients, which compile a schema as draft-07 and unchanged, could not do so; null if they could.
 * Anything that `prepareSchema` repairs in its copy is a fault here.
 */
export function legacyFault(schema: Schema): string | null {
  try {
    if (prepareSchema(schema).loops) return "has a reference to itself";
  } catch (error) {
    if (error instanceof SchemaError) return error.message;
    throw error;
  }
  const fault = schemaFault(schema, "draft-07");
  if (fault !== null) return `is not a valid draft-07 schema:${fault.startsWith("/") ? " " : " it"}${fault}`;
  for (const each of withSubschemas(schema)) {
    const keyword = Object.keys(throwing).find((one) => throwing[one]?.(each));
    if (keyword !== undefined) return `has a ${keyword} that validators reject`;
  }
  return nameFault(schema);
}

/** Checks an untrusted input schema and makes a copy that is safe to compile. Throws SchemaError. */
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
  if (anchors.size < anchored.length) throw new SchemaError("has a duplicate $anchor");
  const ignored = new Set<string>();
  const usable = createUsable();
  const references: Reference[] = [];
  for (const each of all) {
    checkKeywords(each);
    references.push(...referencesOf(schema, all, each, anchors));
  }
  const dialect = named ?? likelyDialect(schema, all);
  const fault = schemaFault(schema, dialect);
  if (fault !== null) throw new SchemaError(`is not a valid schema:${fault.startsWith("/") ? " " : " it"}${fault}`);
  // Only now: references may lead into parts dropped with an ignored pattern, and such parts may have faults.
  for (const each of all) dropPatterns(each, usable, ignored);
  all.forEach(replaceEmptyEnum);
  const loops = hasLoop(references);
  // Draft-07 only has plain references.
  const known = dialect === "draft-07" ? references.filter(({ keyword }) => keyword === "$ref") : references;
  const targets = redirect(schema, all, known);
  addCosts(new Set(withSubschemas(schema, Infinity)), targets);
  return { schema, dialect, ignoredPatterns: [...ignored], size: all.size, loops };
}
