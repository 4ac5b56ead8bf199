import { canonicalString } from "./canonical.ts";
import { memoize } from "./memoize.ts";

/** Replaces a secret. */
export const mark = "[redacted]";

/** Minimum length of a secret: shorter values (a port, `true`) are too common to be hidden everywhere. */
export const minSecretLength = 6;

/** Names whose values are secrets, as alternatives of a regular expression. */
export const secretWords = "password|passwd|passphrase|secret|token|credential|authorization|cookie";

/** Matches names of environment variables, headers or flags that end in one of these words. */
export const secretName: RegExp = new RegExp(`(?:key|${secretWords})$`, "i");

const scheme = /^(?:bearer|basic|token|apikey) +/i;

/** Returns a secret, also without its scheme if it is a header value, because most servers repeat it that way. */
export function secretsIn(value: string): string[] {
  const credential = value.replace(scheme, "");
  return credential.length < value.length && credential.length >= minSecretLength ? [value, credential] : [value];
}

/** Returns values in the order for `maskValues`: longest first, so that no value leaves part of a longer one. */
export function maskable(values: Iterable<string>): string[] {
  return [...new Set(values)].filter((value) => value !== "").toSorted((a, b) => b.length - a.length);
}

/** Maximum number of values from earlier configurations that stay hidden as well. */
const maxEarlierSecrets = 100;

/** Returns the current secrets, and earlier ones, which may still appear in the results of work that used them. */
export function withEarlier(now: readonly string[], known: readonly string[]): readonly string[] {
  const earlier = new Set(known).difference(new Set(now));
  return [...now, ...[...earlier].slice(0, maxEarlierSecrets)];
}

/** Replaces each of the values in a text with the mark. */
export function maskValues(text: string, values: readonly string[]): string {
  let out = text;
  for (const value of values) if (out.includes(value)) out = out.replaceAll(value, mark);
  return out;
}

/** Returns a text as spelled in JSON inside a JSON string, in JSON, plain, and in a URL. */
export function spellings(text: string): string[] {
  const once = canonicalString(text).slice(1, -1);
  return [canonicalString(once).slice(1, -1), once, text, encodeURIComponent(text.toWellFormed())];
}

/**
 * Returns all spellings of secrets, in the order for masking. Memoized, because a list may be long and every call uses
 * the same one.
 */
export const spellingsOf: (secrets: readonly string[]) => readonly string[] = memoize((secrets) =>
  maskable(secrets.flatMap(spellings)),
);

/** Like `maskValues` with spellings as values, but also finds a value that has more escapes than it needs. */
export function maskSpelled(text: string, known: readonly string[]): string {
  const shown = text.includes("\\u00") || text.includes("\\/") ? unescapeAscii(text) : text;
  if (!shown.includes("\\u") && !shown.includes("\\/")) return maskValues(shown, known);
  // Most texts have escapes that hide nothing; they are stored as they are.
  const read = unescapeAll(shown);
  return maskValues(known.some((value) => read.includes(value)) ? read : shown, known);
}

// Otherwise \u0067hp_… would hide a token from the patterns. Quotes and backslashes keep their escapes.
function unescapeAscii(text: string): string {
  return text.replace(/\\(?:u00([2-7][0-9a-fA-F])|.)/gs, (whole, hex?: string) => {
    if (whole === "\\/") return "/";
    const char = hex === undefined ? whole : String.fromCharCode(Number.parseInt(hex, 16));
    return char === '"' || char === "\\" || char === "\x7f" ? whole : char;
  });
}

/** Like `unescapeAscii`, but for all characters, and in nested JSON; one that needs an escape gets the usual one. */
function unescapeAll(text: string): string {
  return text.replace(/(?<!\\)\\+(?:u([0-9a-fA-F]{4})|\/)/g, (whole, hex?: string) => {
    const char = hex === undefined ? "/" : String.fromCharCode(Number.parseInt(hex, 16));
    if (char === '"' || char === "\\") return "\\".repeat(2 * whole.indexOf("u") - 1) + char;
    return char < " " ? whole.slice(0, whole.indexOf("u")) + canonicalString(char).slice(2, -1) : char;
  });
}
