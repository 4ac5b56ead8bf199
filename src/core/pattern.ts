import { RE2JS } from "re2js";
import { orNull } from "./attempt.ts";

// A step takes about 25 ns, so this bounds one match to half a second.
const maxProgram = 1000;
const maxSteps = 20_000_000;
/** Characters of the longest source. */
export const maxSource = 1000;

/** A regular expression that matches in time linear in the text. */
export type Pattern = {
  /** Whether the text is short enough to be matched within the bound; `test` is false for a longer one. */
  fits(text: string): boolean;
  /** Whether the pattern occurs anywhere in the text. */
  test(text: string): boolean;
};

/** Compiles a regular expression; null if it is malformed, too big, or cannot be matched in linear time. */
export function compilePattern(source: string): Pattern | null {
  // Compiling takes as long as what repetitions make of a pattern is large; a program has seldom half as many parts.
  if (source.length > maxSource || expandedSize(source) > 2 * maxProgram) return null;
  const compiled = orNull(() => RE2JS.compile(RE2JS.translateRegExp(source)));
  if (!compiled || compiled.programSize() > maxProgram) return null;
  const size = Math.max(compiled.programSize(), 1);
  const fits = (text: string): boolean => size * (text.length + 1) <= maxSteps;
  return { fits, test: (text) => fits(text) && compiled.test(text) };
}

const token =
  /\\(?:Q.*?(?:\\E|$)|[ux]\{\w+\}|.)|\[(?:\\.|[^\]\\])*\]|\((?:\?(?:P?<\w+>|[\w-]*[:)]))?|\{(\d+)(?:,(\d*))?\}|./gs;

/** The parts of a pattern, each as often as it is repeated. */
function expandedSize(source: string): number {
  const outer: number[] = [];
  let size = 0;
  let last = 0;
  for (const [text, least, most] of source.matchAll(token)) {
    // No part: a repetition behind it repeats what stands before it.
    if (text === "\\Q\\E" || /^\(.+\)$/.test(text)) continue;
    if (least !== undefined) {
      // Of `{0,}`, one is compiled.
      const times = Number(most || least) || 1;
      size += last * (times - 1);
      last *= times;
    } else if (text.startsWith("(")) {
      outer.push(size);
      // What is captured takes a part of its own.
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
