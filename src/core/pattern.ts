import { RE2JS } from "re2js";
import { orNull } from "./attempt.ts";

// A step takes about 25 ns, so this bounds one match to half a second.
const maxProgram = 1000;
const maxSteps = 20_000_000;
/** Maximum length of a source, in characters. */
export const maxSource = 1000;

/** A regular expression that matches in time linear in the text. */
export type Pattern = {
  /** Reports whether the text is short enough to be matched within the bound; `test` is false for a longer one. */
  fits(text: string): boolean;
  /** Reports whether the pattern occurs anywhere in the text. */
  test(text: string): boolean;
};

/** Compiles a regular expression; null if it is malformed, too big, or cannot be matched in linear time. */
export function compilePattern(source: string): Pattern | null {
  // Compile time grows with the size after repetition; a program rarely has fewer than half as many instructions.
  if (source.length > maxSource || expandedSize(source) > 2 * maxProgram) return null;
  const compiled = orNull(() => RE2JS.compile(RE2JS.translateRegExp(source)));
  if (!compiled || compiled.programSize() > maxProgram) return null;
  const size = Math.max(compiled.programSize(), 1);
  const fits = (text: string): boolean => size * (text.length + 1) <= maxSteps;
  return { fits, test: (text) => fits(text) && compiled.test(text) };
}

const token =
  /\\(?:Q.*?(?:\\E|$)|[ux]\{\w+\}|.)|\[(?:\\.|[^\]\\])*\]|\((?:\?(?:P?<\w+>|[\w-]*[:)]))?|\{(\d+)(?:,(\d*))?\}|./gs;

/** Returns the number of parts of a pattern, each counted as often as it is repeated. */
function expandedSize(source: string): number {
  const outer: number[] = [];
  let size = 0;
  let last = 0;
  for (const [text, least, most] of source.matchAll(token)) {
    // These are not parts: a repetition after one repeats what precedes it.
    if (text === "\\Q\\E" || /^\(.+\)$/.test(text)) continue;
    if (least !== undefined) {
      // `{0,}` is compiled as one repetition.
      const times = Number(most || least) || 1;
      size += last * (times - 1);
      last *= times;
    } else if (text.startsWith("(")) {
      outer.push(size);
      // A capturing group takes a part of its own.
      size = text.endsWith(":") ? 0 : 1;
    } else if (text === ")") {
      last = size;
      size += outer.pop() ?? 0;
    } else if (!"|*+?".includes(text)) {
      last = 1;
      size += text.startsWith("\\Q") ? text.length : 1;
    }
  }
  return size;
}
