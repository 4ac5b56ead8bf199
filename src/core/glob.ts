import { memoize } from "./memoize.ts";

// A wildcard is represented by a string longer than one character, so no text can contain it.
const anyRun = "**";
const anyOne = "??";

/** A compiled glob: literal characters and wildcards. */
export type GlobTokens = readonly string[];

// Code units are characters unless the text has surrogates; then `?` must match a whole pair.
const units = (text: string): ArrayLike<string> => (/[\ud800-\udfff]/.test(text) ? Array.from(text) : text);

/** Returns the characters of a text as literals, none of them a wildcard. */
export const literalTokens = (text: string): GlobTokens => Array.from(text);

/** Compiles a glob: `*` is any run of characters, `?` any one character; nothing else is special. */
export const globTokens = (glob: string): GlobTokens =>
  Array.from(glob, (char) => (char === "*" ? anyRun : char === "?" ? anyOne : char));

/** Reports whether the tokens match the whole text. */
export const matchTokens = (tokens: GlobTokens, text: string): boolean => covers(tokens, units(text));

/**
 * Reports whether `wide` matches everything that `narrow` (a glob or the characters of a text) matches. It compares
 * single tokens, so false may be wrong. At most wide × narrow steps, since only the latest `*` is retried.
 */
export function covers(wide: GlobTokens, narrow: ArrayLike<string>): boolean {
  const last = wide.lastIndexOf(anyRun);
  let token = 0;
  let char = 0;
  let star = -1;
  let resume = 0;
  while (char < narrow.length) {
    if (token === last) {
      // What follows the last `*` can only match at the end.
      char = Math.max(char, narrow.length - (wide.length - ++token));
      star = -1;
    } else if (wide[token] === anyRun) {
      star = token++;
      resume = char;
    } else if (token < wide.length && takes(wide[token], narrow[char])) {
      token++;
      char++;
    } else if (star >= 0) {
      token = star + 1;
      char = ++resume;
    } else return false;
  }
  while (wide[token] === anyRun) token++;
  return token === wide.length;
}

const takes = (token: string | undefined, char: string | undefined): boolean =>
  token === char || (token === anyOne && char !== anyRun);

/** Memoized because many globs may be compared with the same long readings of a URI. */
const hasWildcard = memoize((tokens: GlobTokens) => tokens.includes(anyRun) || tokens.includes(anyOne));
const isWildcard = (token: string): boolean => token === anyRun || token === anyOne;

/** Returns the one text that the tokens match; null if they match more. */
export const onlyText = (tokens: GlobTokens): string | null => (tokens.some(isWildcard) ? null : tokens.join(""));

// Enough for two globs of the maximum length in a configuration; longer pairs count as overlapping.
const stepBudget = 1_000_000;

/** Reports whether some text is matched by both; true if it would take too long to find out. */
export function overlap(a: GlobTokens, b: GlobTokens): boolean {
  if (!hasWildcard(b)) return covers(a, b);
  let same = 0;
  while (same < a.length && same < b.length && !isWildcard(a[same] ?? "") && !isWildcard(b[same] ?? "")) {
    if (a[same] !== b[same]) return false;
    same++;
  }
  // After the common start, one of them takes anything, or one starts and the other ends with `*`.
  if ([a, b].some((each) => same === each.length - 1 && each[same] === anyRun)) return true;
  if ((a[same] === anyRun && b.at(-1) === anyRun) || (b[same] === anyRun && a.at(-1) === anyRun)) return true;
  if (a.length * b.length > stepBudget) return true;
  // meets[j]: whether the rest of a from the row's token on and the rest of b from j on match a common text.
  let meets = row(b.length, (j, after) => j === b.length || (b[j] === anyRun && after));
  for (let i = a.length - 1; i >= 0; i--) {
    const below = meets;
    meets = row(b.length, (j, after) => {
      const run = a[i] === anyRun || b[j] === anyRun;
      if (run) return (below[j] ?? false) || after;
      return j < b.length && takesEither(a[i], b[j]) && (below[j + 1] ?? false);
    });
  }
  return meets[0] ?? false;
}

const takesEither = (a: string | undefined, b: string | undefined): boolean => a === b || a === anyOne || b === anyOne;

/** Fills a row from end to start; `after` is the cell to the right, false for the last one. */
function row(length: number, cell: (j: number, after: boolean) => boolean): boolean[] {
  const cells: boolean[] = [];
  for (let j = length; j >= 0; j--) cells[j] = cell(j, cells[j + 1] ?? false);
  return cells;
}

/** Compiles a case-sensitive glob to a test of whole strings; the common shapes need no scan. */
export function compileGlob(glob: string): (text: string) => boolean {
  if (/^\*+$/.test(glob)) return () => true;
  if (!/[*?]/.test(glob)) return (text) => text === glob;
  const head = glob.slice(0, -1);
  if (glob.endsWith("*") && !/[*?]/.test(head)) return (text) => text.startsWith(head);
  const tokens = globTokens(glob);
  return (text) => matchTokens(tokens, text);
}
