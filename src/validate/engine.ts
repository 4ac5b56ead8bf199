import { Ajv, type ErrorObject, type Options, str } from "ajv";
import { Ajv2019 } from "ajv/dist/2019.js";
import { Ajv2020 } from "ajv/dist/2020.js";
import { sortKeys } from "../core/sort-keys.ts";
import { compileSchemaPattern } from "./pattern.ts";
import { type Json, type PreparedSchema, tick } from "./schema.ts";

// References that one check may follow: a few nested choices of a recursive schema multiply without end.
const maxTicks = 200_000;

/** The arguments are too big or too nested for their schema to be checked in bounded time. */
export class TooComplex extends Error {}

/** A compiled schema: returns what is wrong with the arguments, nothing if they are right. Throws TooComplex. */
export type Check = (args: unknown) => readonly ErrorObject[];

// Ajv keeps one matcher per pattern, under its string form. A check that cannot be made is not made: a text too long to
// be matched within the bound passes.
const matcher = (source: string): { test(text: string): boolean; toString(): string } => {
  const pattern = compileSchemaPattern(source);
  if (!pattern) throw new Error("has a pattern that should have been dropped");
  return { test: (text) => !pattern.fits(text) || pattern.test(text), toString: () => source };
};

const options: Options = {
  strict: false,
  allErrors: true,
  // Names that every object inherits (`constructor`) were not sent by a caller.
  ownProperties: true,
  // A copy of the target in place of each reference: 1,000 references to a schema of 1,000 parts would be a million.
  inlineRefs: false,
  validateFormats: false,
  // The schemas are checked already.
  meta: false,
  validateSchema: false,
  logger: false,
  code: { regExp: Object.assign(matcher, { code: "linear" }) },
};

/** A validator of one dialect; its tick counter spans one check. */
class Engine {
  readonly #ajv: Ajv;
  #ticks = 0;
  compiled = 0;

  constructor(ajv: Ajv) {
    this.#ajv = ajv;
    ajv.addKeyword({ keyword: tick, validate: () => this.#count() });
    // Of older drafts, and an annotation since; Ajv throws at it.
    ajv.removeKeyword("id");
    // Ajv compares every pair of elements, which for 100,000 objects takes minutes.
    ajv.removeKeyword("uniqueItems");
    ajv.addKeyword({
      keyword: "uniqueItems",
      type: "array",
      schemaType: "boolean",
      error: { message: "must not have equal items" },
      validate: (unique: boolean, items: unknown[]) => !unique || new Set(items.map(canonical)).size === items.length,
    });
    // Ajv's tolerance is the same for all numbers: it takes a small one for a multiple of a large one.
    ajv.removeKeyword("multipleOf");
    ajv.addKeyword({
      keyword: "multipleOf",
      type: "number",
      schemaType: "number",
      error: { message: ({ schemaCode }) => str`must be multiple of ${schemaCode}` },
      validate: isMultiple,
    });
  }

  compile(schema: Json): Check {
    this.compiled++;
    const validate = this.#ajv.compile(schema);
    return (args) => {
      this.#ticks = 0;
      try {
        if (validate(args) === true) return [];
        return validate.errors ?? [];
      } catch (error) {
        // A reference to itself recurses until the stack is full.
        throw error instanceof RangeError ? new TooComplex() : error;
      }
    };
  }

  #count(): true {
    if (++this.#ticks > maxTicks) throw new TooComplex();
    return true;
  }
}

const canonical = (value: unknown): string => JSON.stringify(value, sortKeys);

/** Most that a quotient may be off a whole number. */
const mostOff = 1e-6;

/** Whether the quotient is whole but for the last digits: binary fractions make that of 19.99 and 0.01 a little less. */
function isMultiple(divisor: number, value: number): boolean {
  const quotient = value / divisor;
  // A number so large has no digits left that could tell.
  if (value === 0 || !Number.isFinite(quotient)) return true;
  const off = Math.abs(quotient - Math.round(quotient));
  return off === 0 ? quotient !== 0 : off < Math.min(mostOff, 4 * Number.EPSILON * Math.abs(quotient));
}

const makers = {
  "2020-12": () => new Ajv2020(options),
  "2019-09": () => new Ajv2019(options),
  "draft-07": () => new Ajv(options),
} satisfies Record<PreparedSchema["dialect"], () => Ajv>;

// Ajv never forgets a schema: after this many, a new engine is started and the old one is left to its users.
const maxCompiled = 500;

const engines = new Map<PreparedSchema["dialect"], Engine>();

function engineOf(dialect: PreparedSchema["dialect"]): Engine {
  const known = engines.get(dialect);
  if (known && known.compiled < maxCompiled) return known;
  const engine = new Engine(makers[dialect]());
  engines.set(dialect, engine);
  return engine;
}

/** The check of a schema, which is compiled when first needed. */
export function createCheck({ schema, dialect }: PreparedSchema): Check {
  let check: Check | null = null;
  return (args) => (check ??= engineOf(dialect).compile(schema))(args);
}
