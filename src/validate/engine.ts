import { _, Ajv, type Code, type ErrorObject, type KeywordCxt, Name, type Options, str } from "ajv";
import { Ajv2019 } from "ajv/dist/2019.js";
import { Ajv2020 } from "ajv/dist/2020.js";
import { sortKeys } from "../core/json.ts";
import { type PartType, perPart, type Schema } from "./costs.ts";
import { compileSchemaPattern } from "./pattern.ts";
import type { PreparedSchema } from "./schema.ts";
import { spend, spendTime, TooComplex } from "./work.ts";

/** A compiled schema: returns the faults of a value, none if it is valid. Throws TooComplex. */
type Find = (value: unknown) => readonly ErrorObject[];

/** The checks of arguments against a schema. */
export type Check = {
  /** Stops at the first fault. */
  readonly first: Find;
  /** Finds all faults, which takes more time and memory, so it is only used to explain what `first` found. */
  readonly all: Find;
};

type Matcher = { test(text: string): boolean; toString(): string };

// Ajv keeps one matcher per pattern, keyed by its string form. A text too long for the limit passes unchecked.
function createMatcher(source: string): Matcher {
  const pattern = compileSchemaPattern(source);
  if (!pattern) throw new Error("has a pattern that should have been dropped");
  const test = (text: string): boolean => {
    if (!pattern.fits(text)) return true;
    const start = process.threadCpuUsage();
    const matches = pattern.test(text);
    const { user, system } = process.threadCpuUsage(start);
    spendTime((user + system) / 1000);
    return matches;
  };
  return { test, toString: () => source };
}

/** The matchers of the schema being compiled; Ajv asks for one at each occurrence of a pattern. */
const matchers = new Map<string, Matcher>();
const matcherOf = (source: string): Matcher => matchers.getOrInsertComputed(source, createMatcher);

const options: Options = {
  strict: false,
  // A caller did not send the names that every object inherits (`constructor`).
  ownProperties: true,
  // Inlining copies the target for each reference: 1,000 references to a schema of 1,000 parts would be a million.
  inlineRefs: false,
  validateFormats: false,
  // The schemas have already been checked.
  meta: false,
  validateSchema: false,
  logger: false,
  // Makes error paths without reading the names in them, which a caller can make long.
  jsPropertySyntax: true,
  // Spends the costs that prepareSchema stored in `$comment`.
  $comment: (cost: unknown) => spend(Number(cost)),
  // Without optimization, the code compiles in half the time and runs as fast.
  code: { optimize: false, regExp: Object.assign(matcherOf, { code: "linear" }) },
  // Generated code for each value of a long list takes long to compile.
  loopEnum: 20,
  loopRequired: 20,
};

class Engine {
  readonly #ajv: Ajv;
  compiled = 0;

  constructor(ajv: Ajv) {
    this.#ajv = ajv;
    addCounter(ajv, "string", "maxLength", (text) => _`${text}.length`);
    addCounter(ajv, "array", "maxItems", (items) => _`${items}.length`);
    addCounter(ajv, "object", "maxProperties", (members) => _`Object.keys(${members}).length`);
    addBefore(ajv, "patternProperties", listProperties, "unevaluatedProperties");
    addBefore(ajv, "unevaluatedItems", countItems);
    // A keyword of older drafts and only an annotation since; Ajv throws on it.
    ajv.removeKeyword("id");
    // Ajv compares every pair of elements, which takes minutes for 100,000 objects.
    ajv.removeKeyword("uniqueItems");
    ajv.addKeyword({
      keyword: "uniqueItems",
      type: "array",
      schemaType: "boolean",
      error: { message: "must not have equal items" },
      validate: (unique: boolean, items: unknown[]) => !unique || areDistinct(items),
    });
    // Ajv uses the same tolerance for all numbers, so it accepts a small number as a multiple of a large one.
    ajv.removeKeyword("multipleOf");
    ajv.addKeyword({
      keyword: "multipleOf",
      type: "number",
      schemaType: "number",
      error: { message: ({ schemaCode }) => str`must be multiple of ${schemaCode}` },
      validate: isMultiple,
    });
  }

  compile(schema: Schema): Find {
    this.compiled++;
    matchers.clear();
    const validate = this.#ajv.compile(schema);
    return (value) => {
      try {
        if (validate(value) === true) return [];
        return validate.errors ?? [];
      } catch (error) {
        // A reference to itself recurses until the stack overflows.
        throw error instanceof RangeError ? new TooComplex() : error;
      }
    };
  }
}

/**
 * Prepares what is already evaluated before a keyword reads it. Under a choice or a reference this is known only at run
 * time, and it is undefined for none and true for all; Ajv expects a list or a number.
 */
function addBefore(ajv: Ajv, keyword: string, prepare: (cxt: KeywordCxt) => void, before?: string): void {
  const known = ajv.getKeyword(keyword);
  if (typeof known !== "object" || !("code" in known)) return;
  const code = (cxt: KeywordCxt): void => {
    prepare(cxt);
    known.code(cxt);
  };
  ajv.removeKeyword(keyword);
  ajv.addKeyword({ ...known, code, ...(before !== undefined && { before }) });
}

function listProperties({ gen, it: { props } }: KeywordCxt): void {
  if (props instanceof Name) gen.if(_`${props} === undefined`, () => gen.assign(props, _`{}`));
}

function countItems({ gen, data, it }: KeywordCxt): void {
  const { items } = it;
  if (items instanceof Name) it.items = gen.const("evaluated", _`${items} === true ? ${data}.length : ${items} || 0`);
}

/** Makes a validator count the steps for the parts of a value before the first keyword that iterates over them. */
function addCounter(ajv: Ajv, type: PartType, before: string, sizeOf: (data: Name) => Code): void {
  const code = ({ gen, data, schema }: KeywordCxt): void => {
    gen.code(_`${gen.scopeValue("keyword", { ref: spend })}(${schema} * ${sizeOf(data)})`);
  };
  ajv.addKeyword({ keyword: perPart(type), type, before, code });
}

/** Reports whether no two values are equal; a value that is not exact counts as different from all others. */
function areDistinct(values: readonly unknown[]): boolean {
  const seen = new Set<string>();
  return values.every((value) => {
    const text = canonical(value);
    return text === null || seen.size < seen.add(text).size;
  });
}

/** Reports whether a value is exact: a large integer may differ from the one that was sent. */
const isExact = (value: unknown): boolean => typeof value !== "number" || Math.abs(value) <= Number.MAX_SAFE_INTEGER;

/** Returns the same text for all equal values; null for a value that is not exact. */
function canonical(value: unknown): string | null {
  if (typeof value !== "object" || value === null) {
    const text = JSON.stringify(value);
    spend(5 + text.length / 16);
    return isExact(value) ? text : null;
  }
  let exact = true;
  const text = JSON.stringify(value, (key, each: unknown) => {
    exact &&= isExact(each);
    return sortKeys(key, each);
  });
  spend(40 + 4 * text.length);
  return exact ? text : null;
}

/** Maximum deviation of a quotient from a whole number. */
const maxDeviation = 1e-6;

/** Reports whether the quotient is whole except for its last digits: in binary, 19.99 / 0.01 is below 1999. */
function isMultiple(divisor: number, value: number): boolean {
  const quotient = value / divisor;
  // A number this large has no digits left that could tell.
  if (value === 0 || !Number.isFinite(quotient)) return true;
  const off = Math.abs(quotient - Math.round(quotient));
  return off === 0 ? quotient !== 0 : off < Math.min(maxDeviation, 4 * Number.EPSILON * Math.abs(quotient));
}

const makers = {
  "2020-12": Ajv2020,
  "2019-09": Ajv2019,
  "draft-07": Ajv,
} satisfies Record<PreparedSchema["dialect"], new (options: Options) => Ajv>;

// Ajv never releases a schema: after this many, a new engine is started and the old one is left to its users.
const maxCompiled = 500;

const engines = new Map<string, Engine>();

function engineOf(dialect: PreparedSchema["dialect"], allErrors: boolean): Engine {
  const key = `${dialect} ${allErrors}`;
  const known = engines.get(key);
  if (known && known.compiled < maxCompiled) return known;
  const engine = new Engine(new makers[dialect]({ ...options, allErrors }));
  engines.set(key, engine);
  return engine;
}

/** Maximum size of a schema that is compiled twice, to explain all faults; compiling larger ones takes too long. */
const maxExplainedSize = 200;

/** Creates the check of a schema; each half is compiled when first needed. */
export function createCheck({ schema, dialect, size }: PreparedSchema): Check {
  const compiled = (allErrors: boolean): Find => {
    let find: Find | null = null;
    return (value) => (find ??= engineOf(dialect, allErrors).compile(schema))(value);
  };
  const first = compiled(false);
  return { first, all: size > maxExplainedSize ? first : compiled(true) };
}
