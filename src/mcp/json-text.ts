import { orNull } from "../core/attempt.ts";
import type { Span } from "../core/inbound.ts";

// Functions that walk JSON text without parsing it. For text that JSON.parse accepts, every result is exact. For other
// text they stop (-1, null) and never throw, because JSON.parse decides whether text is valid.

export const quote = 34;
export const comma = 44;
export const colon = 58;
export const openArray = 91;
const backslash = 92;
export const closeArray = 93;
export const openObject = 123;
export const closeObject = 125;

/** Returns the index after the closing quote of the string that opens at `at`, or -1 if it never closes. */
export function stringEnd(text: string, at: number): number {
  for (let end = text.indexOf('"', at + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let escape = end;
    while (text.charCodeAt(escape - 1) === backslash) escape--;
    if ((end - escape) % 2 === 0) return end + 1;
  }
  return -1;
}

/** Returns the index of the first character at or after `at` that is not whitespace. */
export function skipSpace(text: string, at: number): number {
  while (text.charCodeAt(at) <= 32) at++;
  return at;
}

/** Returns the index after the number, `true`, `false` or `null` at `at`, but at most `stop`. */
export function literalEnd(text: string, at: number, stop = text.length): number {
  for (let i = at; i < stop; i++) {
    const c = text.charCodeAt(i);
    if (c <= 32 || c === comma || c === closeArray || c === closeObject) return i;
  }
  return stop;
}

/** Returns the index after the value that starts at `at`, or -1 if it never ends. */
export function valueEnd(text: string, at: number): number {
  const first = text.charCodeAt(at);
  if (first === quote) return stringEnd(text, at);
  if (first !== openObject && first !== openArray) return literalEnd(text, at);
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === quote) {
      i = stringEnd(text, i) - 1;
      if (i < 0) return -1;
    } else if (c === openObject || c === openArray) depth++;
    else if ((c === closeObject || c === closeArray) && --depth === 0) return i + 1;
  }
  return -1;
}

/** Returns the characters between the quotes with escapes decoded, or null if they are not a valid string. */
export function decodeKey(text: string, start: number, end: number): string | null {
  const raw = text.slice(start, end);
  return raw.includes("\\") ? orNull(() => String(JSON.parse(`"${raw}"`))) : raw;
}

/** One member of an object: where its key (including quotes) and its value start. `end` is -1 until it is known. */
export type Cursor = { key: number; keyEnd: number; value: number; end: number };

/** Returns a cursor before the first member of the object at `at`. */
export function cursorAt(at: number): Cursor {
  return { key: -1, keyEnd: -1, value: -1, end: at };
}

/** Moves to the next member without searching for the end of its value; returns false if there is none. */
export function next(text: string, cursor: Cursor): boolean {
  let i = skipSpace(text, endOf(text, cursor));
  if (i < 0 || text.charCodeAt(i) !== (cursor.key < 0 ? openObject : comma)) return false;
  const key = skipSpace(text, i + 1);
  if (text.charCodeAt(key) !== quote) return false;
  const keyEnd = stringEnd(text, key);
  if (keyEnd < 0) return false;
  i = skipSpace(text, keyEnd);
  if (text.charCodeAt(i) !== colon) return false;
  cursor.key = key;
  cursor.keyEnd = keyEnd;
  cursor.value = skipSpace(text, i + 1);
  cursor.end = -1;
  return true;
}

/** Returns the index after the cursor's value, or -1 if it never ends. */
export function endOf(text: string, cursor: Cursor): number {
  if (cursor.end < 0) cursor.end = valueEnd(text, cursor.value);
  return cursor.end;
}

/** Whether the cursor's key, with escapes decoded, is `key`. */
export function isKey(text: string, { key: start, keyEnd }: Cursor, key: string): boolean {
  const length = keyEnd - start - 2;
  if (length === key.length) return text.startsWith(key, start + 1);
  // An escaped key is longer than its decoded form.
  return length > key.length && decodeKey(text, start + 1, keyEnd - 1) === key;
}

/** Returns the elements of the array at `at`, up to where the text becomes invalid; empty if there is no array. */
export function elements(text: string, at: number): Span[] {
  const found: Span[] = [];
  if (text.charCodeAt(at) !== openArray) return found;
  do {
    const start = skipSpace(text, at + 1);
    const end = valueEnd(text, start);
    if (end <= start) break;
    found.push([start, end]);
    at = skipSpace(text, end);
  } while (text.charCodeAt(at) === comma);
  return found;
}

/** One member of an object; `start` is the opening quote of its key. */
export type Member = { readonly key: string; readonly start: number; readonly value: Span };

/** Returns the members of the object that starts at or after `at`, in order; empty if there is no object. */
export function members(text: string, at = 0): Member[] {
  const found: Member[] = [];
  const cursor = cursorAt(skipSpace(text, at));
  while (next(text, cursor)) {
    const key = decodeKey(text, cursor.key + 1, cursor.keyEnd - 1);
    if (key === null || endOf(text, cursor) < 0) break;
    found.push({ key, start: cursor.key, value: [cursor.value, cursor.end] });
  }
  return found;
}

/** Returns the span of the value of the first member `key` in the object that starts at or after `at`, or null. */
export function locate(text: string, at: number, key: string): Span | null {
  const cursor = cursorAt(skipSpace(text, at));
  while (next(text, cursor)) {
    if (isKey(text, cursor, key)) return endOf(text, cursor) < 0 ? null : [cursor.value, cursor.end];
  }
  return null;
}

/** Works like `locate`, but treats a null value as absent, because some servers write null for absent members. */
export function locatePresent(text: string, at: number, key: string): Span | null {
  const span = locate(text, at, key);
  return span && text.startsWith("null", span[0]) ? null : span;
}

/**
 * Returns false only if no key of the text contains `part`, which must have no slash, since JSON may write one as `\/`.
 * Much faster than reading the members of a large text.
 */
export function mayHold(text: string, part: string): boolean {
  return text.includes(part) || text.includes("\\u");
}

/** Returns the value that `locate` finds as written, or null. */
export function rawValue(text: string, at: number, key: string): string | null {
  const span = locate(text, at, key);
  return span && text.slice(span[0], span[1]);
}

/** Returns the value that `locate` finds if it is a string, else null. */
export function stringValue(text: string, at: number, key: string): string | null {
  const span = locate(text, at, key);
  return span && stringAt(text, span);
}

/** Returns the string at a position, or null if the value there is not a string. */
export function stringAt(text: string, [start, end]: Span): string | null {
  return text.charCodeAt(start) === quote ? decodeKey(text, start + 1, end - 1) : null;
}

/** Replaces each unpaired surrogate in JSON text with U+FFFD, because some parsers refuse the whole text. */
export function wellFormed(text: string): string {
  if (!/\\u[dD][89a-fA-F]/.test(text)) return text;
  // Every escape is matched as a whole, so that the second of two backslashes does not start another.
  const escapes = /\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\./gs;
  return text.replace(escapes, (escape, half?: string) => (half === undefined ? escape : "\\ufffd"));
}

/** Replaces numbers that overflow a double with the largest double, because some parsers refuse the whole text. */
export function finite(text: string): string {
  if (!/[eE]\+?\d\d|\d{300}/.test(text)) return text;
  const token = /"|(-?)\d[\d.eE+-]*/g;
  let bounded = "";
  let from = 0;
  for (let found = token.exec(text); found; found = token.exec(text)) {
    const [all, sign = ""] = found;
    // Digits in a string are not a number. A pattern that matches whole strings would fail on very long ones.
    if (all === '"') {
      const end = stringEnd(text, found.index);
      token.lastIndex = end < 0 ? text.length : end;
    } else if (!Number.isFinite(Number(all))) {
      bounded += `${text.slice(from, found.index)}${sign}${Number.MAX_VALUE}`;
      from = token.lastIndex;
    }
  }
  return bounded + text.slice(from);
}
