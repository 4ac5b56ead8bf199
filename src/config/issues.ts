import type { z } from "zod";
import type { Finding, Path } from "../core/finding.ts";
import { nearest } from "../core/nearest.ts";
import { cut, plain } from "../core/text.ts";
import { jsonSchema, keysAt } from "./json-schema.ts";
import { serverShapes } from "./schema.ts";

type Issue = z.core.$ZodIssue;
type RawIssue = z.core.$ZodRawIssue;
type Shape = keyof typeof serverShapes;

const kinds: Record<string, string> = {
  string: "a text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a group of keys",
  record: "a group of keys",
  null: "nothing",
};

/** The words for an issue for which its schema has none. */
export function wording(issue: RawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      return wrongType(issue.expected, issue.input);
    case "invalid_value": {
      const values = issue.values.map(String);
      if (issue.input === undefined) return `is missing; write ${list(values)}`;
      const guess = typeof issue.input === "string" ? nearest(issue.input, values) : null;
      return `expected ${list(values)}, got ${describe(issue.input)}${guess ? `; did you mean ${guess}?` : ""}`;
    }
    case "too_small":
      return bound(issue.inclusive === false ? "more than" : "at least", issue.minimum, issue.origin);
    case "too_big":
      return bound(issue.inclusive === false ? "less than" : "at most", issue.maximum, issue.origin);
    case "invalid_key":
      return issue.issues[0]?.message;
    case "invalid_format":
      return wrongFormat(issue.format, issue.input);
    default:
      return undefined;
  }
}

function bound(relation: string, limit: number | bigint, origin: string): string {
  const one = Number(limit) === 1;
  if (origin === "array") return `must have ${relation} ${limit} ${one ? "entry" : "entries"}`;
  if (origin === "string") return `must have ${relation} ${limit} ${one ? "character" : "characters"}`;
  return `must be ${relation} ${limit}`;
}

function wrongFormat(format: string, input: unknown): string | undefined {
  if (format === "url") return `${describe(input)} is no http:// or https:// URL`;
  if (format === "date" || format === "datetime")
    return `${describe(input)} is no time; write 2027-01-31 or 2027-01-31T12:00:00Z`;
  return undefined;
}

function wrongType(expected: string, input: unknown): string {
  if (input === undefined) return "is missing";
  // A number in place of a text may be a secret that only lacks its quotes.
  if (expected === "string" && typeof input !== "object")
    return `expected a text, got a ${typeof input}; put it in quotes`;
  const wrap = expected === "array" && typeof input === "string" ? "; put it in [brackets]" : "";
  return `expected ${kinds[expected] ?? expected}, got ${describe(input)}${wrap}`;
}

// A long text is never shown: it tells little and may be a secret.
function describe(input: unknown): string {
  if (input === null) return "nothing";
  if (Array.isArray(input)) return "a list";
  if (typeof input === "object") return "a group of keys";
  if (typeof input === "string") return input.length <= 40 ? JSON.stringify(plain(input)) : "a longer text";
  return typeof input === "number" || typeof input === "boolean" ? `${input}` : typeof input;
}

function list(values: readonly string[]): string {
  if (values.length < 2) return values.join();
  return `${values.slice(0, -1).join(", ")} or ${values.at(-1)}`;
}

/** One finding for each mistake, in words for the author of the file. */
export function explain(issues: readonly Issue[], value: unknown, base: Path = []): Finding[] {
  return issues.flatMap((issue): Finding[] => {
    const path = [...base, ...issue.path];
    if (issue.code === "unrecognized_keys") return issue.keys.map((key) => unknownKey(path, key, value));
    if (issue.code === "invalid_union") return isServer(path) ? server(path, issue, value) : union(path, issue, value);
    return [{ path, message: issue.message, key: issue.code === "invalid_key" }];
  });
}

function unknownKey(path: Path, key: string, value: unknown): Finding {
  const known = isServer(path) ? serverKeys(valueAt(value, path)) : keysAt(jsonSchema(), path);
  const guess = nearest(key, known);
  const elsewhere = isServer(path) ? shapeWith(key) : null;
  const shown = plain(cut(key, 60));
  const help = elsewhere
    ? `only a server with \`${elsewhere}\` has it`
    : guess
      ? `did you mean ${guess}?`
      : `known here: ${known.join(", ")}`;
  return { path: [...path, key], key: true, message: `unknown key ${JSON.stringify(shown)}; ${help}` };
}

function isServer(path: Path): boolean {
  return path.length === 2 && path[0] === "servers";
}

const shapeNames = Object.keys(serverShapes).filter((key): key is Shape => key in serverShapes);

function shapesOf(entry: unknown): Shape[] {
  return typeof entry === "object" && entry !== null ? shapeNames.filter((name) => name in entry) : [];
}

function serverKeys(entry: unknown): string[] {
  const [shape] = shapesOf(entry);
  return shape ? Object.keys(serverShapes[shape].shape) : [];
}

function shapeWith(key: string): Shape | null {
  return shapeNames.find((name) => key in serverShapes[name].shape) ?? null;
}

function server(path: Path, issue: z.core.$ZodIssueInvalidUnion, value: unknown): Finding[] {
  const entry = valueAt(value, path);
  if (typeof entry !== "object" || entry === null) return [{ path, message: wrongType("object", entry) }];
  const shapes = shapesOf(entry);
  const [shape] = shapes;
  if (!shape) return [{ path, message: "give one of command, url or builtin: what kind of server it is" }];
  if (shapes.length > 1) return [{ path, message: `${shapes.join(" and ")} exclude each other; keep one` }];
  return explain(issue.errors[shapeNames.indexOf(shape)] ?? [], value, path);
}

// The branch with a fitting type has the best message; if none fits, every accepted type is named.
function union(path: Path, issue: z.core.$ZodIssueInvalidUnion, value: unknown): Finding[] {
  const isTypeOnly = ([first]: Issue[]): boolean => first?.code === "invalid_type" && first.path.length === 0;
  const fitting = issue.errors.find((errors) => !isTypeOnly(errors));
  if (fitting) return explain(fitting, value, path);
  const wanted = issue.errors.flatMap(([first]) => (first?.code === "invalid_type" ? [first.expected] : []));
  const names = [...new Set(wanted.map((name) => kinds[name] ?? name))];
  const input = valueAt(value, path);
  return [{ path, message: input === undefined ? "is missing" : `expected ${list(names)}, got ${describe(input)}` }];
}

/** The value at a path of plain data; undefined if there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  let here = value;
  for (const key of path) {
    if (typeof here !== "object" || here === null || !Object.hasOwn(here, key)) return undefined;
    here = Reflect.get(here, key);
  }
  return here;
}
