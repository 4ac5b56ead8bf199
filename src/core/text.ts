/**
 * Characters that are not seen, or only as a space: soft hyphen, zero-width characters, bidi controls, fillers,
 * variation selectors, tags.
 */
export const invisible = /[\p{Default_Ignorable_Code_Point}\p{Cf}\u2800\ufffc]/gu;

/**
 * Characters that can forge a line of output or hide in one: C0 but tab, DEL, C1, line separators and what is
 * invisible, but for the selector that gives an emoji its colours.
 */
const unsafe = new RegExp(
  `[\\u0000-\\u0008\\u000a-\\u001f\\u007f-\\u009f\\u2028\\u2029]|(?!(?<=\\p{Extended_Pictographic})\\ufe0f)${invisible.source}`,
  "gu",
);

/** Makes untrusted text safe for a terminal or a log line: each dangerous character becomes a visible `\u{…}`. */
export function plain(text: string): string {
  return text.replace(unsafe, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}

/** The same of JSON text, which stays JSON of the same value. JSON has line breaks and returns only between values. */
export function plainJson(json: string): string {
  const unit = (char: string, at: number): string => `\\u${char.charCodeAt(at).toString(16).padStart(4, "0")}`;
  return json.replace(unsafe, (char) =>
    char === "\n" || char === "\r" ? "\n" : unit(char, 0) + (char.length > 1 ? unit(char, 1) : ""),
  );
}

/**
 * One spelling for all that differ only in case, also for those letters beyond ASCII that are another case of one in it
 * (\u017f of s, \u212a of k): servers in Go and .NET take such keys for the same.
 */
export const foldCase = (text: string): string => text.toLowerCase().toUpperCase();

/** The same text in memory of its own: a part that was cut out of another keeps all of that. */
export const copied = (part: string): string => [part, ""].join("");

/** The first `max` characters, with an ellipsis if something was cut off; never half of a surrogate pair. */
export function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  const end = /[\ud800-\udbff]/.test(text.charAt(max - 2)) ? max - 2 : max - 1;
  return `${copied(text.slice(0, end))}…`;
}

/** The first `max` bytes of UTF-8, no character torn. */
export function cutBytes(text: string, max: number): string {
  if (text.length * 3 <= max || Buffer.byteLength(text) <= max) return text;
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(max));
  return text.slice(0, read);
}
