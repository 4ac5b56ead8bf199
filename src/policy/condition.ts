import { memoize } from "../core/memoize.ts";
import type { Principal, Source } from "../core/principal.ts";
import type { Readings } from "../core/uri-readings.ts";
import type { ConditionOptions, RuleOptions } from "./options.ts";
import { foldCase } from "../core/text.ts";
import { type Fill, operators, RuleError, type Table, template, type Truth, withRulePath } from "./operators.ts";
import type { ArgumentsText } from "./arguments-text.ts";
import { uriOperators } from "./uri-operators.ts";

/** The facts that conditions test. `args` is null for a list or a completion; `source` is null if it is unknown. */
export type Facts = {
  readonly args: unknown;
  /** The text from which `args` were parsed; null if they were not parsed from text. */
  readonly text: ArgumentsText | null;
  readonly who: Principal;
  readonly source: Source | null;
  readonly server: string;
  /** The possible meanings of `args.uri`, if it is a resource's URI; else null. */
  readonly readings: Readings | null;
};

/** A dotted path and its tests. */
export type Condition = {
  readonly path: string;
  /** Whether it tests arguments, which a list does not have. */
  readonly onArgs: boolean;
  /** Whether it states itself if the value must be present. */
  readonly onPresence: boolean;
  /** Returns the condition in words, with the caller's values filled in. */
  describe(who: Principal): string;
  evaluate(facts: Facts): Truth;
};

type Read = (facts: Facts) => unknown;

const principalFacts: Record<string, (who: Principal) => string | null> = {
  id: (who) => who.id,
  consumerId: (who) => who.consumerId,
  keyId: (who) => who.keyId,
  name: (who) => who.name,
  method: (who) => who.method,
};

/** The properties of a source that conditions can test. */
export const sourceFacts: Record<string, (source: Source) => string | boolean | null> = {
  ip: (source) => source.ip,
  transport: (source) => source.transport,
  loopback: (source) => source.loopback,
  forwarded: (source) => source.forwarded,
};

const roots: Record<string, (path: string) => Read | null> = {
  args: (path) => {
    const keys = path.split(".");
    return ({ args }) => walk(args, keys);
  },
  principal: (path) => {
    const read = Object.hasOwn(principalFacts, path) ? principalFacts[path] : undefined;
    return read ? ({ who }) => read(who) ?? undefined : null;
  },
  source: (path) => {
    const read = Object.hasOwn(sourceFacts, path) ? sourceFacts[path] : undefined;
    return read ? ({ source }) => (source ? (read(source) ?? undefined) : undefined) : null;
  },
  server: (path) => (path === "id" ? ({ server }) => server : null),
};

const names = (facts: object): string => Object.keys(facts).join("|");
const known = `args.…, principal.${names(principalFacts)}, source.${names(sourceFacts)}, server.id`;

/** Stands for a value that different servers read differently. */
const unclear = Symbol("unclear");

/** The start of a string that servers built with the official Python SDK parse as the object or array in it. */
const opensJson = /^\s*[[{]/;

// Reads own properties only: a caller sends neither a `constructor` nor the length of an array.
function walk(value: unknown, keys: readonly string[]): unknown {
  for (const key of keys) {
    if (typeof value === "string" && opensJson.test(value)) return unclear;
    if (typeof value !== "object" || value === null) return undefined;
    if (Array.isArray(value) && !/^\d+$/.test(key)) return undefined;
    if (!Array.isArray(value) && hasCaseVariant(value, key)) return unclear;
    if (!Object.hasOwn(value, key)) return undefined;
    value = Reflect.get(value, key);
  }
  return value;
}

/** The keys of an object by case-folded spelling, null for several; computed once, as many rules may test an object. */
const spellingsOf = memoize((object: object) => {
  const keys = new Map<string, string | null>();
  for (const each of Object.keys(object)) {
    const folded = foldCase(each);
    keys.set(folded, keys.has(folded) ? null : each);
  }
  return keys;
});

/** Reports whether an object has a key that servers which ignore case, as many in Go and .NET do, read as this key. */
function hasCaseVariant(object: object, key: string): boolean {
  const only = spellingsOf(object).get(foldCase(key));
  return only !== undefined && only !== key;
}

/** Returns the argument that a server which ignores case may read as the one at a condition's path; null if none. */
export function posing(args: unknown, path: string): string | null {
  const [root, ...keys] = path.split(".");
  for (const [depth, key] of keys.entries()) {
    const before = keys.slice(0, depth);
    const holder = walk(args, before);
    if (typeof holder !== "object" || holder === null || Array.isArray(holder) || !hasCaseVariant(holder, key))
      continue;
    const other = Object.keys(holder).find((each) => each !== key && foldCase(each) === foldCase(key));
    return [root, ...before, other].join(".");
  }
  return null;
}

function fillFor(who: Principal): Fill {
  return (text) => {
    let lacks = false;
    const filled = text.replace(template, (_whole, name: string) => {
      const value = principalFacts[name]?.(who) ?? null;
      lacks ||= value === null;
      return value ?? "";
    });
    return lacks ? null : filled;
  };
}

function checkTemplates(options: ConditionOptions): void {
  const text = JSON.stringify(options);
  for (const [whole, name = ""] of text.matchAll(template)) {
    if (!Object.hasOwn(principalFacts, name)) throw new RuleError(`${whole} does not exist; known: ${known}`);
  }
  if (text.replace(template, "").includes("${principal.")) throw new RuleError("${principal.…} is malformed");
}

/** Compiles the tests of a condition. The type of the options guarantees that each operand fits its operator. */
export function compileTests<Test>(table: Table<Test>, options: ConditionOptions): Test[] {
  return Object.entries(options).map(([name, operand]) =>
    withRulePath(name, () => (table[name as keyof ConditionOptions] as (operand: unknown) => Test)(operand)),
  );
}

function compileOne(path: string, options: ConditionOptions): Condition {
  const dot = path.indexOf(".");
  const root = path.slice(0, dot);
  const inner = path.slice(dot + 1);
  const read = roots[root]?.(inner) ?? null;
  if (!read) throw new RuleError(`does not exist; known: ${known}`);
  checkTemplates(options);
  const tests = compileTests(operators, options);
  if (tests.length === 0) throw new RuleError("has no operator");
  const onArgs = root === "args";
  const uriTests = path === "args.uri" ? compileTests(uriOperators, options) : null;
  return {
    path,
    onArgs,
    onPresence: options.exists !== undefined,
    describe(who) {
      const fill = fillFor(who);
      const words = Object.entries(options).map(([name, operand]) =>
        name === "exists" ? (operand ? "exists" : "does not exist") : `${name} ${JSON.stringify(operand)}`,
      );
      return `${path} ${words.map((text) => fill(text) ?? text).join(" and ")}`;
    },
    evaluate(facts) {
      const { readings, text } = facts;
      // Even `exists` cannot be evaluated if the source or the arguments are not known.
      if ((root === "source" && facts.source === null) || (onArgs && facts.args === null)) return null;
      const fill = fillFor(facts.who);
      let value = read(facts);
      if (value === unclear) return null;
      // The server may read a different number, so this one cannot be compared.
      if (typeof value === "number" && onArgs && text && !text.means(value, inner)) value = Number.NaN;
      if (uriTests && readings && value !== undefined) return every(uriTests.map((test) => test(readings, fill)));
      return every(tests.map((test) => test(value, fill)));
    },
  };
}

/** Reports whether all hold: false if one is false, else null if one is unknown. */
export function every(truths: readonly Truth[]): Truth {
  if (truths.includes(false)) return false;
  return truths.includes(null) ? null : true;
}

/** Compiles the `when` of a rule. Throws RuleError. */
export function compileConditions(when: RuleOptions["when"]): Condition[] {
  return withRulePath("when", () =>
    Object.entries(when ?? {}).map(([path, options]) => withRulePath(path, () => compileOne(path, options))),
  );
}
