import type { ErrorObject } from "ajv";
import { orNull } from "../core/attempt.ts";
import { type BoundedMap, createBoundedMap } from "../core/bounded-map.ts";
import type { Tool } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/error-text.ts";
import { Failure } from "../core/failure.ts";
import { isObject } from "../core/json.ts";
import { memoize } from "../core/memoize.ts";
import type { Validator } from "../core/ports.ts";
import { cut } from "../core/text.ts";
import type { Schema } from "./costs.ts";
import { type Check, createCheck } from "./engine.ts";
import { legacyFault, prepareSchema, SchemaError } from "./schema.ts";
import { allowSteps, TooComplex } from "./work.ts";

// About half a second for a check, and a smaller budget for explaining what is wrong.
const maxSteps = 20_000_000;
const maxExplaining = 50_000;

const maxErrors = 5;
// Some errors have the same text.
const maxRead = 20;
const maxErrorLength = 200;
const maxSchemas = 5000;
const age = 86_400_000_000;

type Usable = { readonly check: Check; readonly ignored: readonly string[]; readonly reason: null };
type Refused = { readonly check: null; readonly ignored: readonly string[]; readonly reason: string };
type Compiled = Usable | Refused;

/** Creates the validator of arguments. A schema is checked when first seen and compiled at the first call. */
export function createValidator(clock: Clock): Validator {
  // Servers are listed repeatedly: a schema that is equal in a new tool object is not judged again.
  const oncePerSchema = <T extends object>(judge: (schema: Schema) => T): ((schema: Schema) => T) => {
    const known: BoundedMap<T> = createBoundedMap({ cap: maxSchemas, age, clock });
    return (schema) => {
      // Its depth was bounded when it was read, so it can be serialized.
      const key = Bun.SHA256.hash(JSON.stringify(schema), "base64");
      const before = known.get(key);
      const made = before ?? judge(schema);
      if (!before) known.set(key, made);
      return made;
    };
  };
  const ofInput = oncePerSchema(compileSchema);
  const ofOutput = oncePerSchema((schema) => ({ fault: legacyFault(schema) }));
  const compiled = memoize(({ inputSchema }: Tool): Compiled => ofInput(inputSchema));
  return {
    refuses: (tool) => compiled(tool).reason,
    refusesOutput: (schema) => ofOutput(schema).fault,
    unchecked: (tool) => compiled(tool).ignored,
    check(call, route) {
      if (!route.tool) return;
      const { check, reason } = compiled(route.tool);
      if (!check) throw invalid(`${route.wire} cannot be called: ${reason}.`);
      const errors = run(check, call.inbound.params["arguments"] ?? {}, route.wire);
      if (errors.length > 0) throw invalid(explain(route.wire, errors));
    },
  };
}

const invalid = (message: string): Failure => new Failure("invalid-arguments", message);

function compileSchema(schema: Schema): Compiled {
  try {
    const prepared = prepareSchema(schema);
    return { check: createCheck(prepared), ignored: prepared.ignoredPatterns, reason: null };
  } catch (error) {
    const why = error instanceof SchemaError ? error.message : "cannot be compiled";
    return { check: null, ignored: [], reason: cut(`its inputSchema ${why}`, maxErrorLength) };
  }
}

/**
 * Returns the arguments without null members, or null if they have none. Agents often send null for members they mean
 * to omit; unless the schema requires the member, that is not a fault.
 */
function withoutNulls(args: unknown): unknown {
  if (!isObject(args)) return null;
  const entries = Object.entries(args).filter(([, value]) => value !== null);
  return entries.length < Object.keys(args).length ? Object.fromEntries(entries) : null;
}

function run(check: Check, args: unknown, wire: string): readonly ErrorObject[] {
  try {
    allowSteps(maxSteps);
    const faults = check.first(args);
    if (faults.length === 0) return faults;
    const fewer = withoutNulls(args);
    if (fewer === null) return explained(check, args, faults);
    allowSteps(maxSteps);
    const left = check.first(fewer);
    return left.length === 0 ? left : explained(check, fewer, left);
  } catch (error) {
    if (error instanceof TooComplex) throw invalid(`The arguments of ${wire} are too complex to be checked.`);
    // Nothing passes unchecked: a schema that crashes its validator cannot be used.
    throw new Failure("invalid-arguments", `The arguments of ${wire} cannot be checked against its schema.`, {
      internal: messageOf(error),
    });
  }
}

/** Returns all faults, or only the first ones if there are too many. */
function explained(check: Check, args: unknown, first: readonly ErrorObject[]): readonly ErrorObject[] {
  try {
    allowSteps(maxExplaining);
    return check.all(args);
  } catch (error) {
    if (error instanceof TooComplex) return first;
    throw error;
  }
}

function explain(wire: string, errors: readonly ErrorObject[]): string {
  const lines = new Set<string>();
  let read = 0;
  for (const error of errors.slice(0, maxRead)) {
    if (lines.size === maxErrors) break;
    lines.add(`\n- ${cut(describe(error), maxErrorLength)}`);
    read++;
  }
  const more = errors.length > read ? `\n- and ${errors.length - read} more` : "";
  return `The arguments of ${wire} do not match its schema:${[...lines].join("")}${more}`;
}

// The parameter that holds the name or value omitted from Ajv's message.
const details: Record<string, (params: Readonly<Record<string, unknown>>) => unknown> = {
  additionalProperties: (params) => params["additionalProperty"],
  unevaluatedProperties: (params) => params["unevaluatedProperty"],
  enum: (params) => params["allowedValues"],
  const: (params) => params["allowedValue"],
};

// A path step as Ajv writes it: `.name` and `["a name"]` from the schema, `['a name']` as the caller wrote it, `[0]`.
const step = /\.([\w$]+)|\[("(?:[^"\\]|\\.)*")\]|\['(.*?)(?:'\]|$)|\[(\d+)\]/gs;

/** Returns the name in quotes; a name from the caller may look quoted without being valid JSON. */
const unquoted = (quoted: string): string => orNull(() => String(JSON.parse(quoted))) ?? quoted.slice(1, -1);

function pointerOf(path: string): string {
  return path.replaceAll(step, (_, plain?: string, quoted?: string, asCame?: string, index?: string) => {
    const name = plain ?? (quoted === undefined ? (asCame ?? index) : unquoted(quoted));
    return `/${(name ?? "").replaceAll("~", "~0").replaceAll("/", "~1")}`;
  });
}

function describe({ instancePath, keyword, params, message }: ErrorObject): string {
  const detail = details[keyword]?.(params);
  return `arguments${pointerOf(instancePath.slice(0, maxErrorLength))} ${message ?? "is not allowed"}${detail === undefined ? "" : `: ${JSON.stringify(detail)}`}`;
}
