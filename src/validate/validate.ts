import type { ErrorObject } from "ajv";
import { type BoundedMap, createBoundedMap } from "../core/bounded-map.ts";
import type { Tool } from "../core/call.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/error-text.ts";
import { Failure } from "../core/failure.ts";
import { isObject } from "../core/json.ts";
import type { Validator } from "../core/ports.ts";
import { cut } from "../core/text.ts";
import { type Check, createCheck, TooComplex } from "./engine.ts";
import { asIsFault, prepareSchema, SchemaError } from "./schema.ts";

const maxErrors = 5;
const maxErrorLength = 200;
const maxSchemas = 5000;
const age = 86_400_000_000;

type Usable = { readonly check: Check; readonly ignored: readonly string[]; readonly reason: null };
type Refused = { readonly check: null; readonly ignored: readonly string[]; readonly reason: string };
type Compiled = Usable | Refused;

export type ValidatorInit = {
  readonly clock: Clock;
  /** Called once per tool and schema with the parts of it that are ignored. */
  readonly warn: (tool: Tool, message: string) => void;
};

/**
 * Creates the validator of arguments. A schema is checked when its tool is first seen, and compiled at the first call.
 */
export function createValidator({ clock, warn }: ValidatorInit): Validator {
  const byTool = new WeakMap<Tool, Compiled>();
  // Servers are listed again and again: an equal schema of a new tool object is not compiled again.
  const bySchema: BoundedMap<Compiled> = createBoundedMap({ cap: maxSchemas, age, clock });
  const compiled = (tool: Tool): Compiled => {
    const known = byTool.get(tool);
    if (known) return known;
    // It has been read within a bound of depth, so it can be written out.
    const key = Bun.SHA256.hash(JSON.stringify(tool.inputSchema) ?? "", "base64");
    const shared = bySchema.get(key);
    const made = shared ?? compileSchema(tool.inputSchema);
    if (!shared) {
      bySchema.set(key, made);
      for (const pattern of made.ignored) {
        warn(tool, `pattern ${JSON.stringify(cut(pattern, 100))} cannot be matched in linear time and is ignored`);
      }
    }
    byTool.set(tool, made);
    return made;
  };
  return {
    refuses: (tool) => compiled(tool).reason,
    refusesOutput: asIsFault,
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

function compileSchema(schema: unknown): Compiled {
  try {
    const prepared = prepareSchema(schema);
    return { check: createCheck(prepared), ignored: prepared.ignoredPatterns, reason: null };
  } catch (error) {
    const why = error instanceof SchemaError ? error.message : "cannot be compiled";
    return { check: null, ignored: [], reason: cut(`its inputSchema ${why}`, maxErrorLength) };
  }
}

/**
 * Agents often send null for members that they mean to omit; if the schema does not require the member, that is no
 * fault.
 */
function withoutNulls(args: unknown): unknown {
  if (!isObject(args)) return args;
  return Object.fromEntries(Object.entries(args).filter(([, value]) => value !== null));
}

function run(check: Check, args: unknown, wire: string): readonly ErrorObject[] {
  try {
    const errors = check(args);
    return errors.length === 0 ? errors : check(withoutNulls(args));
  } catch (error) {
    if (error instanceof TooComplex) throw invalid(`The arguments of ${wire} are too complex to be checked.`);
    // Nothing passes unchecked: a schema that breaks its validator cannot be used.
    throw new Failure("invalid-arguments", `The arguments of ${wire} cannot be checked against its schema.`, {
      internal: messageOf(error),
    });
  }
}

function explain(wire: string, errors: readonly ErrorObject[]): string {
  const lines = new Set(errors.map(describe));
  const shown = [...lines].slice(0, maxErrors).map((line) => `\n- ${cut(line, maxErrorLength)}`);
  const more = lines.size > maxErrors ? `\n- and ${lines.size - maxErrors} more` : "";
  return `The arguments of ${wire} do not fit its schema:${shown.join("")}${more}`;
}

// The parameter has the name or value that Ajv's sentence omits.
const details: Record<string, (params: Readonly<Record<string, unknown>>) => unknown> = {
  additionalProperties: (params) => params["additionalProperty"],
  unevaluatedProperties: (params) => params["unevaluatedProperty"],
  enum: (params) => params["allowedValues"],
  const: (params) => params["allowedValue"],
};

function describe({ instancePath, keyword, params, message }: ErrorObject): string {
  const detail = details[keyword]?.(params);
  return `arguments${instancePath} ${message ?? "is not allowed"}${detail === undefined ? "" : `: ${JSON.stringify(detail)}`}`;
}
