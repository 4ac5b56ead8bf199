import { isJson } from "../core/json.ts";
import { mark } from "../core/secret.ts";
import { foldCase } from "../core/text.ts";
import {
  closeArray,
  comma,
  cursorAt,
  decodeKey,
  next,
  openArray,
  openObject,
  quote,
  skipSpace,
  stringEnd,
  valueEnd,
} from "../mcp/json-text.ts";

/** A path as made by `maskPath`; `*` stands for any one member or index. */
export type MaskPath = readonly string[];

/** Returns the path through these members, ignoring case. */
export const maskPath = (members: readonly string[]): MaskPath => members.map(foldCase);

/** Called with each part of the text to replace, and its replacement. */
type Mask = (start: number, end: number, shown: string) => void;

const masked = JSON.stringify(mark);

/**
 * Returns JSON text with the values at `paths` replaced and everything else unchanged, character for character. A path
 * also leads into JSON inside a string, and to members whose names differ in case, since many servers treat those as
 * the same. Also works on JSON that was cut off: a value to be masked is masked to the end. The time is linear in the
 * text, times the length of the longest path.
 */
export function maskPaths(text: string, paths: readonly MaskPath[]): string {
  if (paths.length === 0) return text;
  let out = "";
  let copied = 0;
  visit(text, skipSpace(text, 0), paths, (start, end, shown) => {
    out += text.slice(copied, start) + shown;
    copied = end;
  });
  return out + text.slice(copied);
}

/** Visits only where a path leads, so it never goes deeper than the longest path. */
function visit(text: string, at: number, paths: readonly MaskPath[], mask: Mask): void {
  if (paths.length === 0) return;
  if (paths.some((path) => path.length === 0)) return mask(at, endAt(text, at), masked);
  const first = text.charCodeAt(at);
  if (first === quote) return inString(text, at, paths, mask);
  const into = (key: string, value: number): void => visit(text, value, below(paths, key), mask);
  if (first === openArray) return eachElement(text, at, into);
  if (first !== openObject) return;
  const cursor = cursorAt(at);
  while (next(text, cursor)) into(decodeKey(text, cursor.key + 1, cursor.keyEnd - 1) ?? "", cursor.value);
}

/** Calls `into` for each element of the array at `at`, including a last one that was cut off. */
function eachElement(text: string, at: number, into: (index: string, value: number) => void): void {
  let value = skipSpace(text, at + 1);
  if (text.charCodeAt(value) === closeArray) return;
  for (let index = 0; value < text.length; index++) {
    into(String(index), value);
    const end = skipSpace(text, endAt(text, value));
    if (text.charCodeAt(end) !== comma) return;
    value = skipSpace(text, end + 1);
  }
}

/** Visits JSON in a string; one that was cut off may have continued to a masked value, so all of it is masked. */
function inString(text: string, at: number, paths: readonly MaskPath[], mask: Mask): void {
  const end = stringEnd(text, at);
  const inner = end < 0 ? null : decodeKey(text, at + 1, end - 1);
  if (inner === null) return mask(at, end < 0 ? text.length : end, masked);
  const shown = isJson(inner) ? maskPaths(inner, paths) : inner;
  if (shown !== inner) mask(at, end, JSON.stringify(shown));
}

/** Returns the rest of the paths that lead to the member or element `key`. */
function below(paths: readonly MaskPath[], key: string): MaskPath[] {
  const folded = foldCase(key);
  return paths.filter(([first]) => first === "*" || first === folded).map((path) => path.slice(1));
}

/** Returns the index after the value at `at`, or the end of the text if the value was cut off. */
function endAt(text: string, at: number): number {
  const end = valueEnd(text, at);
  return end < 0 ? text.length : end;
}
