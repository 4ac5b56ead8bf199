import type { z } from "zod";
import { isObject } from "../core/json.ts";
import { nearest } from "../core/nearest.ts";
import { cut, plain } from "../core/text.ts";

const kinds: Record<string, string> = {
  string: "a string",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a mapping (key: value)",
  record: "a mapping (key: value)",
  null: "nothing",
};

/** Returns the message for an issue whose schema has none of its own. */
export function issueText(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case "invalid_type":
      return wrongType([issue.expected], issue.input);
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
  if (format === "url") return `${describe(input)} is not an http:// or https:// URL`;
  if (format === "date" || format === "datetime")
    return `${describe(input)} is not a time; write for example 2027-01-31 or 2027-01-31T12:00:00Z`;
  return undefined;
}

/** Returns the message for a value that has none of the expected types. */
export function wrongType(expected: readonly string[], input: unknown): string {
  if (input === undefined) return "is missing";
  // A number in place of a string may be a secret that only lacks quotes, so it is not shown.
  if (expected.every((type) => type === "string") && typeof input !== "object")
    return `expected a string, got a ${typeof input}; put it in quotes`;
  const names = [...new Set(expected.map((type) => kinds[type] ?? type))];
  const advice = expected.includes("array") ? listAdvice(input) : "";
  return `expected ${list(names)}, got ${describe(input)}${advice}`;
}

function listAdvice(input: unknown): string {
  if (typeof input === "string") return "; put it in [brackets]";
  if (!isObject(input)) return "";
  // The configuration files of MCP clients have a mapping of servers by name.
  const [name] = Object.keys(input);
  const byName = name !== undefined && isObject(input[name]);
  return `; start each entry with a dash${byName ? `: - id: ${cut(plain(name), 40)}` : ""}`;
}

// A long string is never shown: it may be a secret, and adds little.
function describe(input: unknown): string {
  if (input === null) return "nothing";
  if (Array.isArray(input)) return "a list";
  if (typeof input === "object") return "a mapping (key: value)";
  if (typeof input === "string") return input.length <= 40 ? JSON.stringify(plain(input)) : "a longer string";
  return typeof input === "number" || typeof input === "boolean" ? `${input}` : typeof input;
}

function list(values: readonly string[]): string {
  if (values.length < 2) return values.join();
  return `${values.slice(0, -1).join(", ")} or ${values.at(-1)}`;
}
