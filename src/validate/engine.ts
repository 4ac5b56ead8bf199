import { _, Ajv, type Code, type ErrorObject, type KeywordCxt, Name, type Options, str } from "ajv";
import { Ajv2019 } from "ajv/dist/2019.js";
import { Ajv2020 } from "ajv/dist/2020.js";
import { sortKeys } from "../core/json.ts";
import { type PartType, perPart, type Schema } from "./costs.ts";
import { compileSchemaPattern } from "./pattern.ts";
import type { PreparedSchema } from "./schema.ts";
import { spend, spendTime, TooComplex } from "./work.ts";

/** A compiled schema: returns what is wrong with a value, nothing if it is right. Throws TooComplex. */
type Find = (value: unknown) => readonly ErrorObject[];

/** How arguments are held against a schema. */
export type Check = {
  /** Ends at the first fault. */
  readonly first: Find;
  /** Goes on to all of them, which takes longer and more memory, so only to explain what `first` found. */
  readonly all: Find;
};

type Matcher = { test(text: string): boolean; toString(): string };

// Ajv keeps one matcher per pattern, under its string form. A check that cannot be made is not made: a text too long to
// be matched within the bound passes.
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

/** The matchers of the schema that is being compiled: Ajv asks anew wherever a pattern occurs. */
const matchers = new Map<string, Matcher>();
const matcherOf = (source: string): Matcher => matchers.getOrInsertComputed(source, createMatcher);

const options: Options = {
  strict: false,
  // Names that every object inherits (`constructor`) were not sent by a caller.
  ownProperties: true,
  // A copy of the target in place of each reference: 1,000 references to a schema of 1,000 parts would be a million.
  inlineRefs: false,
  validateFormats: false,
  // The schemas are checked already.
  meta: false,
  validateSchema: false,
  logger: false,
  // Paths of errors that are made without reading the names in them, which a caller can make long.
  jsPropertySyntax: true,
  // The costs that prepareSchema wrote there.
  $comment: (cost: unknown) => spend(Number(cost)),
  // Left as it is written, the code compiles in half the time and runs as fast.
  code: { optimize: false, regExp: Object.assign(matcherOf, { code: "linear" }) },
  // Code for each value of many lists takes long to compile.
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
    // Of older drafts, and an annotation since; Ajv throws at it.
    ajv.removeKeyword("id");
    // Ajv compares every pair of elements, which for 100,000 objects takes minutes.
    ajv.removeKeyword("uniqueItems");
    ajv.addKeyword({
      keyword: "uniqueItems",
      type: "array",
      schemaType: "boolean",
      error: { message: "must not have equal items" },
      validate: (unique: boolean, items: unknown[]) => !unique || areDistinct(items),
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

  compile(schema: Schema): Find {
    this.compiled++;
    matchers.clear();
    const validate = this.#ajv.compile(schema);
    return (value) => {
      try {
        if (validate(value) === true) return [];
        return validate.errors ?? [];
      } catch (error) {
        // A reference to itself recurses until the stack is full.
        throw error instanceof RangeError ? new TooComplex() : error;
      }
    };
  }
}

/**
 * Has a keyword take what is evaluated as it is. Under a choice or a reference that is known only when they are tried,
 * and undefined if nothing is, true if all is; Ajv takes it for a list or a number.
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

/** Has a validator count the steps for the parts of a value before the first keyword that goes through them. */
function addCounter(ajv: Ajv, type: PartType, before: string, sizeOf: (data: Name) => Code): void {
  const code = ({ gen, data, schema }: KeywordCxt): void => {
    gen.code(_`${gen.scopeValue("keyword", { ref: spend })}(${schema} * ${sizeOf(data)})`);
  };
  ajv.addKeyword({ keyword: perPart(type), type, before, code });
}

/** Whether no two values are equal; what is not exact may be equal to nothing. */
function areDistinct(values: readonly unknown[]): boolean {
  const seen = new Set<string>();
  return values.every((value) => {
    const text = canonical(value);
    return text === null || seen.size < seen.add(text).size;
  });
}

/** False for an integer that may be another as it was written. */
const isExact = (value: unknown): boolean => typeof value !== "number" || Math.abs(value) <= Number.MAX_SAFE_INTEGER;

/** One text for all equal values; null for one that is not exact. */
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

/** Most that a quotient may be off a whole number. */
const mostOff = 1e-6;

/**
 * Whether the quotient is whole but for the last digits: binary fractions make that of 19.99 and 0.01 a little less.
 */
function isMultiple(divisor: number, value: number): boolean {
  const quotient = value / divisor;
  // A number so large has no digits left that could tell.
  if (value === 0 || !Number.isFinite(quotient)) return true;
  const off = Math.abs(quotient - Math.round(quotient));
  return off === 0 ? quotient !== 0 : off < Math.min(mostOff, 4 * Number.EPSILON * Math.abs(quotient));
}

const makers = {
  "2020-12": Ajv2020,
  "2019-09": Ajv2019,
  "draft-07": Ajv,
} satisfies Record<PreparedSchema["dialect"], new (options: Options) => Ajv>;

// Ajv never forgets a schema: after this many, a new engine is started and the old one is left to its users.
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

/**
 * Schemas of more parts take so long to compile that they are compiled once: of what does not fit, one fault is told.
 */
const mostExplained = 200;

/** The check of a schema, each half of which is compiled when first needed. */
export function createCheck({ schema, dialect, size }: PreparedSchema): Check {
  const compiled = (allErrors: boolean): Find => {
    let find: Find | null = null;
    return (value) => (find ??= engineOf(dialect, allErrors).compile(schema))(value);
  };
  const first = compiled(false);
  return { first, all: size > mostExplained ? first : compiled(true) };
}
