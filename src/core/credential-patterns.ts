import { mark, secretName, secretWords } from "./secret.ts";

/**
 * A text with the mark in place of whatever looks like a credential: a token of a known form, what follows a label that
 * announces a secret.
 */
export function maskPatterns(text: string): string {
  return maskLabelled(text.replace(credentials, mark).replace(assignment, `=$1${mark}`));
}

/**
 * Whether a value looks like a credential, by its form, or as its name announces one and it reads like no word or path.
 */
export function isCredential(name: string, value: string): boolean {
  const given = value.replace(elsewhere, "");
  return maskPatterns(given) !== given || (secretName.test(name) && random.test(value));
}

/**
 * A variable as a shell knows it, but none within a word: a password may have such a dollar, and nobody may see what
 * follows.
 */
export const shellVariable = /(?<![\w$])\$([A-Z_][A-Z0-9_]*)(?!\w)/;

/** What names the place of a value instead of giving it: a variable of a shell, a path that is assigned. */
const elsewhere = new RegExp(`${shellVariable.source}|(?<==['"]?)[./~][^\\s'"&;,]*`, "g");

/** Letters and digits together, perhaps after the scheme of a header; no path or URL, and no variable of a shell. */
const random = /^(?:\w+ )?(?![./~$]|\w+:\/\/)(?=\S*\d)(?=\S*[a-z])\S{8,}$/i;

/**
 * Masks the string after a label that announces a secret, or the strings of a list there, however deep all are in JSON
 * inside JSON strings.
 */
function maskLabelled(text: string): string {
  let out = "";
  let at = 0;
  label.lastIndex = 0;
  for (let found = label.exec(text); found; found = label.exec(text)) {
    const [, list, escapes = ""] = found;
    for (let start = label.lastIndex; start !== -1; start = list ? nextInList(text, at, escapes) : -1) {
      const end = endOfString(text, start, escapes.length);
      out += `${text.slice(at, start)}${mark}`;
      if (end === -1) return `${out}${escapes}"`;
      at = end;
    }
    label.lastIndex = text.indexOf('"', at) + 1;
  }
  return out + text.slice(at);
}

/** Where the string begins that follows in a list the one that ends at `end`; -1: none does. */
function nextInList(text: string, end: number, escapes: string): number {
  comma.lastIndex = end + escapes.length + 1;
  const opening = `${escapes}"`;
  return comma.test(text) && text.startsWith(opening, comma.lastIndex) ? comma.lastIndex + opening.length : -1;
}

/**
 * Where the string that begins at `start` ends, before the backslashes and the quote that close it; -1: it does not.
 * Its opening quote stands after `depth` backslashes, a quote in its text after `2 * depth + 1`, and after
 * `2 * (depth + 1)` more for each backslash before that quote in the text. The text a"b is "a\"b" at depth 0 and
 * \"a\\\"b\" at depth 1, in JSON within a JSON string.
 */
function endOfString(text: string, start: number, depth: number): number {
  for (let from = start; ;) {
    const quote = text.indexOf('"', from);
    if (quote === -1) return -1;
    let first = quote;
    while (first > from && text[first - 1] === "\\") first -= 1;
    const own = (quote - first + 1) % (2 * (depth + 1)) === 0;
    if (!own) return Math.max(first, quote - depth);
    from = quote + 1;
  }
}

// Each alternative starts at the edge of a word, so that every character is looked at a bounded number of times.
const credentials = new RegExp(
  [
    String.raw`(?<![\w-])(?:mgw_[A-Za-z0-9_]{16,}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}` +
      String.raw`|xox[abeoprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|npm_[A-Za-z0-9]{30,}` +
      String.raw`|(?:sk|rk|pk)[-_][\w-]{16,}|eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*)`,
    String.raw`(?<=\b(?:Bearer|Basic|bearer|basic) )[\w.~+/=-]{8,}`,
    String.raw`(?<=:\/\/[^\s/:@"]{0,200}:)[^\s/:@"]{1,200}(?=@)`,
    String.raw`-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[^]*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|$)`,
  ].join("|"),
  "g",
);
// "key" alone can be anything in JSON, so only longer names such as "api_key" count.
const announcing = `(?:${secretWords}|(?:api|private|access|secret)[_-]?key)`;
// Both look back from a character that is there seldom, so that a text with no secrets costs next to nothing.
const label = new RegExp(String.raw`"(?<=${announcing}\\{0,63}"\s{0,8}:\s{0,8}(\[\s{0,8})?(\\{0,63})")`, "gi");
const comma = /\s{0,8},\s{0,8}/y;
/** As in the query of a URL, a connection string or a command; a reference is no value. */
const assignment = new RegExp(String.raw`=(?<=${announcing}=)(?!\$\{)('?)[^\s&#;,"'\\<>()]{4,}`, "gi");
