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

/** A path as `maskPath` makes it; `*` stands for any one member or index. */
export type MaskPath = readonly string[];

/** The path that leads through these members, whatever their case. */
export const maskPath = (members: readonly string[]): MaskPath => members.map(foldCase);

/** Told which part of the text is to be replaced, and by what. */
type Mask = (start: number, end: number, shown: string) => void;

const masked = JSON.stringify(mark);

/**
 * JSON text with the values at `paths` replaced, everything else character for character as it was. A path also leads
 * into JSON that stands in a string, and to members whose names differ in case: many servers take them for the same.
 * Also works on JSON that was cut off: a value that is to be masked is masked to the end. Linear in the text, times the
 * length of the longest path.
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

/** Looks only where a path leads to, so it never goes deeper than the longest path. */
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

/** Calls `into` for each element of the array at `at`, also for a last one that was cut off. */
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

/** A string that was cut off may have gone on to what is to be masked, so it is masked as a whole. */
function inString(text: string, at: number, paths: readonly MaskPath[], mask: Mask): void {
  const end = stringEnd(text, at);
  const inner = end < 0 ? null : decodeKey(text, at + 1, end - 1);
  if (inner === null) return mask(at, end < 0 ? text.length : end, masked);
  const shown = isJson(inner) ? maskPaths(inner, paths) : inner;
  if (shown !== inner) mask(at, end, JSON.stringify(shown));
}

/** What remains of the paths that lead to the member or element `key`. */
function below(paths: readonly MaskPath[], key: string): MaskPath[] {
  const folded = foldCase(key);
  return paths.filter(([first]) => first === "*" || first === folded).map((path) => path.slice(1));
}

/** The index after the value at `at`; the end of the text where it was cut off. */
function endAt(text: string, at: number): number {
  const end = valueEnd(text, at);
  return end < 0 ? text.length : end;
}
