import { canonicalString } from "./canonical.ts";
import { memoize } from "./memoize.ts";

/** Stands in place of a secret. */
export const mark = "[redacted]";

/** The least length of a secret: shorter values (a port, `true`) are too common to be hidden wherever they occur. */
export const leastSecret = 6;

/** Names whose values are secrets, as alternatives of a regular expression. */
export const secretWords = "password|passwd|passphrase|secret|token|credential|authorization|cookie";

/** A name that ends in one of these words: of an environment variable, a header or a flag. */
export const secretName: RegExp = new RegExp(`(?:key|${secretWords})$`, "i");

const scheme = /^(?:bearer|basic|token|apikey) +/i;

/** A secret; one that is the value of a header also without its scheme, as most servers repeat it. */
export function secretsIn(value: string): string[] {
  const credential = value.replace(scheme, "");
  return credential.length < value.length && credential.length >= leastSecret ? [value, credential] : [value];
}

/**
 * Values in the order that `maskValues` needs: the longest first, so that a value which begins another leaves no rest
 * of it.
 */
export function maskable(values: Iterable<string>): string[] {
  return [...new Set(values)].filter((value) => value !== "").toSorted((a, b) => b.length - a.length);
}

/** Values of earlier configurations that are hidden besides those of now. */
const mostEarlier = 100;

/** Secrets of now, and known ones that are no longer in force: what was begun with those may still come back. */
export function withEarlier(now: readonly string[], known: readonly string[]): readonly string[] {
  const earlier = new Set(known).difference(new Set(now));
  return [...now, ...[...earlier].slice(0, mostEarlier)];
}

/** A text with each of the values replaced by the mark. */
export function maskValues(text: string, values: readonly string[]): string {
  let out = text;
  for (const value of values) if (out.includes(value)) out = out.replaceAll(value, mark);
  return out;
}

/** A text as in JSON inside a JSON string, in JSON, plain, and in a URL. */
export function spellings(text: string): string[] {
  const once = canonicalString(text).slice(1, -1);
  return [canonicalString(once).slice(1, -1), once, text, encodeURIComponent(text.toWellFormed())];
}

/**
 * All spellings of secrets, in the order that masking needs; worked out once for each list of secrets: their number may
 * be large, and the same ones are looked for in every call.
 */
export const spellingsOf: (secrets: readonly string[]) => readonly string[] = memoize((secrets) =>
  maskable(secrets.flatMap(spellings)),
);

/** `maskValues` with spellings as values, which also sees a value that was written with other escapes than it needs. */
export function maskSpelled(text: string, known: readonly string[]): string {
  const shown = text.includes("\\u00") || text.includes("\\/") ? unescapeAscii(text) : text;
  if (!shown.includes("\\u") && !shown.includes("\\/")) return maskValues(shown, known);
  // Most texts have escapes that hide nothing, and are stored with them.
  const read = unescapeAll(shown);
  return maskValues(known.some((value) => read.includes(value)) ? read : shown, known);
}

// Otherwise \u0067hp_… would hide a token from the patterns; quote and backslash keep their escape.
function unescapeAscii(text: string): string {
  return text.replace(/\\(?:u00([2-7][0-9a-fA-F])|.)/gs, (whole, hex?: string) => {
    if (whole === "\\/") return "/";
    const char = hex === undefined ? whole : String.fromCharCode(Number.parseInt(hex, 16));
    return char === '"' || char === "\\" || char === "\x7f" ? whole : char;
  });
}

/** The same of all characters, and in JSON inside JSON strings; those that need an escape get the usual one. */
function unescapeAll(text: string): string {
  return text.replace(/(?<!\\)\\+(?:u([0-9a-fA-F]{4})|\/)/g, (whole, hex?: string) => {
    const char = hex === undefined ? "/" : String.fromCharCode(Number.parseInt(hex, 16));
    if (char === '"' || char === "\\") return "\\".repeat(2 * whole.indexOf("u") - 1) + char;
    return char < " " ? whole.slice(0, whole.indexOf("u")) + canonicalString(char).slice(2, -1) : char;
  });
}
