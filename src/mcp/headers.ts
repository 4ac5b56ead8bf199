import { orNull } from "../core/attempt.ts";
import type { Tool } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import type { Inbound } from "../core/inbound.ts";
import { isObject } from "../core/json.ts";
import { memoize } from "../core/memoize.ts";
import { locate } from "./json-text.ts";
import { subschemas } from "./subschemas.ts";

const prefix = "mcp-param-";
const sentinelStart = "=?base64?";
const sentinelEnd = "?=";
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** Visible ASCII, with spaces and tabs only inside. */
const plainValue = /^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/;
/** Like `plainValue`, but also with non-ASCII bytes, each of which Bun reads as one character. */
const rawValue = /^[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?$/;
const decimal = /^-?\d+(?:\.\d+)?$/;
const integer = /^-?\d+$/;
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Encodes an HTTP field: the value itself if that is safe, else a Base64 sentinel (2026-07-28, custom headers). */
export function encodeHeader(value: string): string {
  const ambiguous = value.startsWith(sentinelStart) && value.endsWith(sentinelEnd);
  if (!ambiguous && plainValue.test(value)) return value;
  return `${sentinelStart}${Buffer.from(value).toString("base64")}${sentinelEnd}`;
}

/**
 * Decodes the value of an HTTP field; null if it is not a valid sentinel or has characters that are not allowed. Go
 * clients write UTF-8 without a sentinel.
 */
export function decodeHeader(field: string): string | null {
  const value = field.replace(/^[ \t]+|[ \t]+$/g, "");
  if (!value.startsWith(sentinelStart) || !value.endsWith(sentinelEnd)) {
    if (value === "" || plainValue.test(value)) return value;
    return rawValue.test(value) ? utf8(Buffer.from(value, "latin1")) : null;
  }
  const payload = value.slice(sentinelStart.length, -sentinelEnd.length);
  return base64.test(payload) ? utf8(Buffer.from(payload, "base64")) : null;
}

const utf8 = (bytes: Uint8Array): string | null => orNull(() => strictUtf8.decode(bytes));

/** Returns the `Mcp-Param-*` headers of a request as received, by lower-case name. */
export function readParamHeaders(headers: Headers): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  headers.forEach((value, name) => {
    if (name.startsWith(prefix)) found[name] = value;
  });
  return found;
}

/** The arguments of a call, both parsed and as the client wrote them. */
type Written = Pick<Inbound, "params" | "text" | "spans">;

/** Returns the headers that repeat a call's arguments for a modern HTTP upstream, as the tool's schema requires. */
export function paramHeaders(inputSchema: Tool["inputSchema"], call: Written): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const { name, path } of headerNames(inputSchema).headers) {
    const value = valueAt(call.params.arguments, path);
    const field = fieldText(value, call, path) ?? roundedText(value);
    if (field !== null) headers[`Mcp-Param-${name}`] = encodeHeader(field);
  }
  return headers;
}

/** Throws `header-mismatch` if the `Mcp-Param-*` headers of a call do not repeat its arguments. */
export function checkParamHeaders(
  received: Readonly<Record<string, string>>,
  inputSchema: Tool["inputSchema"],
  call: Written,
): void {
  for (const header of headerNames(inputSchema).headers) {
    const value = valueAt(call.params.arguments, header.path);
    const text = fieldText(value, call, header.path);
    if (text === null) continue;
    const field = received[prefix + header.name.toLowerCase()];
    // The official TypeScript clients send no header for an integer that they cannot represent exactly.
    if (field === undefined && isRounded(value)) continue;
    if (field === undefined) throw mismatch(header, "is missing");
    const decoded = decodeHeader(field);
    if (decoded === null) throw mismatch(header, "is not a valid header value or Base64 sentinel");
    // Numbers are compared as numbers: 42.0 and 42 are equal.
    const isNumber = typeof value === "number" && !isRounded(value) && decimal.test(decoded);
    const same = isNumber ? Number(decoded) === value : decoded === text;
    if (!same) throw mismatch(header, "differs from it");
  }
}

function mismatch({ name, path }: ParamHeader, what: string): Failure {
  const argument = path.join(".");
  return new Failure(
    "header-mismatch",
    `The header Mcp-Param-${name} mirrors the argument "${argument}", but ${what}.`,
    {
      data: { header: `Mcp-Param-${name}`, argument },
    },
  );
}

function valueAt(args: unknown, path: readonly string[]): unknown {
  let value = args;
  for (const key of path) value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}

/** Whether parsing may have changed an integer. */
const isRounded = (value: unknown): value is number =>
  typeof value === "number" && !Number.isSafeInteger(value) && (Number.isInteger(value) || !Number.isFinite(value));

/** Returns a number such as 1e30 as the integer that Python servers read; they refuse a call without the header. */
const roundedText = (value: unknown): string | null =>
  isRounded(value) && Number.isFinite(value) ? String(BigInt(value)) : null;

/**
 * Returns the header text of an argument. It is null if the argument is absent, not primitive, or a number that is too
 * large to be exact and not written in digits alone. Python servers compare every digit.
 */
function fieldText(value: unknown, { text, spans }: Written, path: readonly string[]): string | null {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return String(value);
  if (typeof value !== "number") return null;
  if (!isRounded(value)) return String(value);
  let span = spans.arguments;
  for (const key of path) span = span && locate(text, span[0], key);
  const written = span ? text.slice(...span) : "";
  return integer.test(written) ? written : null;
}

/** An argument that a header repeats: its path in the arguments, and the header's name after `Mcp-Param-`. */
type ParamHeader = { readonly path: readonly string[]; readonly name: string };

/** The `x-mcp-header` entries of a tool's schema; if `invalid` is set, the tool must not be offered. */
type ParamHeaders = { readonly headers: readonly ParamHeader[]; readonly invalid: string | null };

const annotation = "x-mcp-header";
/** RFC 9110 §5.6.2. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const types = new Set<unknown>(["string", "integer", "boolean"]);
const maxDepth = 64;
const maxSchemas = 10_000;

const none: ParamHeaders = { headers: [], invalid: null };
/** Returns the headers that an input schema asks for, or what is wrong with them (2026-07-28, `x-mcp-header`). */
export const headerNames: (inputSchema: Tool["inputSchema"]) => ParamHeaders = memoize(search);

/** A schema still to be searched; `path` is null if no chain of `properties` leads to it. */
type Visit = {
  readonly schema: Tool["inputSchema"];
  readonly path: readonly string[] | null;
  readonly depth: number;
};

function search(root: Tool["inputSchema"]): ParamHeaders {
  const headers: ParamHeader[] = [];
  const names = new Set<string>();
  const queue: Visit[] = [{ schema: root, path: [], depth: 0 }];
  for (const { schema, path, depth } of queue) {
    if (depth > maxDepth || queue.length > maxSchemas) return refused("the schema is too large to be checked");
    if (Object.hasOwn(schema, annotation)) {
      const name = schema[annotation];
      if (!path?.length) return refused(`"${annotation}" is not on a property that a chain of "properties" leads to`);
      if (typeof name !== "string" || !token.test(name)) return refused(`"${annotation}" is not an HTTP token`);
      if (!types.has(schema.type)) return refused(`"${annotation}" is on a property that is not primitive`);
      if (names.has(name.toLowerCase())) return refused(`two properties have the same "${annotation}"`);
      names.add(name.toLowerCase());
      headers.push({ path, name });
    }
    for (const { schema: child, property } of subschemas(schema)) {
      queue.push({ schema: child, path: path && property !== null ? [...path, property] : null, depth: depth + 1 });
    }
  }
  return headers.length === 0 ? none : { headers, invalid: null };
}

const refused = (invalid: string): ParamHeaders => ({ headers: [], invalid });
