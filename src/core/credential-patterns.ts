import { mark, secretName, secretWords } from "./secret.ts";

/**
 * Masks whatever looks like a credential: a token of a known form, or the value after a label that announces a secret.
 */
export function maskPatterns(text: string): string {
  return maskLabelled(text.replace(credentials, mark).replace(assignment, `=$1${mark}`));
}

/**
 * Reports whether a value looks like a credential: by its form, or because its name announces one and the value looks
 * random, not like a word or path.
 */
export function isCredential(name: string, value: string): boolean {
  const given = value.replace(elsewhere, "");
  return maskPatterns(given) !== given || (secretName.test(name) && random.test(value));
}

/**
 * A shell variable, but not within a word: that may be a password with a dollar sign, and its rest must stay hidden.
 */
export const shellVariable = /(?<![\w$])\$([A-Z_][A-Z0-9_]*)(?!\w)/;

/** A reference to a value rather than the value itself: a shell variable, or a path that is assigned. */
const elsewhere = new RegExp(`${shellVariable.source}|(?<==['"]?)[./~][^\\s'"&;,]*`, "g");

/** Letters and digits together, optionally after a header's scheme; not a path, URL or shell variable. */
const random = /^(?:\w+ )?(?![./~$]|\w+:\/\/)(?=\S*\d)(?=\S*[a-z])\S{8,}$/i;

/** Masks the string or list of strings after a label that announces a secret, at any depth of JSON in JSON strings. */
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

/** Returns where the list's next string begins after the one that ends at `end`; -1 if there is none. */
function nextInList(text: string, end: number, escapes: string): number {
  comma.lastIndex = end + escapes.length + 1;
  const opening = `${escapes}"`;
  return comma.test(text) && text.startsWith(opening, comma.lastIndex) ? comma.lastIndex + opening.length : -1;
}

/**
 * Returns where the string that begins at `start` ends, before the backslashes and the quote that close it; -1 if it
 * does not end. Its opening quote follows `depth` backslashes. A quote in its text follows `2 * depth + 1`, and `2 *
 * (depth + 1)` more for each backslash before that quote in the text. For example, the text a"b is "a\"b" at depth 0,
 * and \"a\\\"b\" at depth 1, in JSON within a JSON string.
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

// Each alternative starts at a word edge, so that each character is examined a bounded number of times.
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
// Both start at a rare character and look back, so that a text without secrets costs next to nothing.
const label = new RegExp(String.raw`"(?<=${announcing}\\{0,63}"\s{0,8}:\s{0,8}(\[\s{0,8})?(\\{0,63})")`, "gi");
const comma = /\s{0,8},\s{0,8}/y;
/** As in a URL query, a connection string or a command. A `${…}` reference is not a value. */
const assignment = new RegExp(String.raw`=(?<=${announcing}=)(?!\$\{)('?)[^\s&#;,"'\\<>()]{4,}`, "gi");
