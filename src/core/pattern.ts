import { RE2JS } from "re2js";

// A step takes about 25 ns, so this bounds one match to half a second.
const maxProgram = 1000;
const maxSteps = 20_000_000;
const maxSource = 1000;

/** A regular expression that matches in time linear in the text. */
export type Pattern = {
  /** Whether the text is short enough to be matched within the bound; `test` is false for a longer one. */
  fits(text: string): boolean;
  /** Whether the pattern occurs anywhere in the text. */
  test(text: string): boolean;
};

/** Compiles a regular expression; null if it is malformed, too big, or cannot be matched in linear time. */
export function compilePattern(source: string): Pattern | null {
  if (source.length > maxSource) return null;
  const compiled = compile(source);
  if (!compiled) return null;
  const size = Math.max(compiled.programSize(), 1);
  const fits = (text: string): boolean => size * (text.length + 1) <= maxSteps;
  return { fits, test: (text) => fits(text) && compiled.test(text) };
}

function compile(source: string): RE2JS | null {
  try {
    const compiled = RE2JS.compile(RE2JS.translateRegExp(source));
    return compiled.programSize() > maxProgram ? null : compiled;
  } catch {
    return null;
  }
}
