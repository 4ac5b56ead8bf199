// A wildcard is marked by a string longer than any character, so that no text can contain it.
const anyRun = "**";
const anyOne = "??";

type Units = ArrayLike<string>;

/** A compiled glob: literal characters and wildcards. */
export type GlobTokens = readonly string[];

// Code units are characters unless the text has surrogates; then `?` must take a whole pair.
const units = (text: string): Units => (/[\ud800-\udfff]/.test(text) ? Array.from(text) : text);

/** The literal characters of a text, none of them a wildcard. */
export const literalTokens = (text: string): GlobTokens => Array.from(text);

/** The tokens of a glob: `*` is any run of any characters, `?` any one; nothing else is special. */
export const globTokens = (glob: string): GlobTokens =>
  Array.from(glob, (char) => (char === "*" ? anyRun : char === "?" ? anyOne : char));

/** Whether the tokens match the whole text; at most tokens × text steps, since only the last `*` is ever retried. */
export function matchTokens(tokens: GlobTokens, text: string): boolean {
  const chars = units(text);
  let token = 0;
  let char = 0;
  let star = -1;
  let resume = 0;
  while (char < chars.length) {
    if (tokens[token] === anyRun) {
      star = token++;
      resume = char;
    } else if (token < tokens.length && (tokens[token] === anyOne || tokens[token] === chars[char])) {
      token++;
      char++;
    } else if (star >= 0) {
      token = star + 1;
      char = ++resume;
    } else return false;
  }
  while (tokens[token] === anyRun) token++;
  return token === tokens.length;
}

/** Compiles a glob (case-sensitive, whole string) to a test; the common shapes need no scan. */
export function compileGlob(glob: string): (text: string) => boolean {
  if (/^\*+$/.test(glob)) return () => true;
  if (!/[*?]/.test(glob)) return (text) => text === glob;
  const head = glob.slice(0, -1);
  if (glob.endsWith("*") && !/[*?]/.test(head)) return (text) => text.startsWith(head);
  const tokens = globTokens(glob);
  return (text) => matchTokens(tokens, text);
}
