/**
 * Characters that are invisible or look like a space: soft hyphen, zero-width characters, bidi controls, fillers,
 * variation selectors, tags.
 */
export const invisible = /[\p{Default_Ignorable_Code_Point}\p{Cf}\u2800\ufffc]/gu;

/**
 * Characters that can forge or hide output: C0 except tab, DEL, C1, line separators and invisible characters, except
 * the selector that makes an emoji colored.
 */
const unsafe = new RegExp(
  `[\\u0000-\\u0008\\u000a-\\u001f\\u007f-\\u009f\\u2028\\u2029]|(?!(?<=\\p{Extended_Pictographic})\\ufe0f)${invisible.source}`,
  "gu",
);

/** Makes untrusted text safe for a terminal or log line: each dangerous character becomes a visible `\u{…}`. */
export function plain(text: string): string {
  return text.replace(unsafe, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}

/** The same for JSON text, keeping its value. JSON has line breaks and carriage returns only between values. */
export function plainJson(json: string): string {
  const unit = (char: string, at: number): string => `\\u${char.charCodeAt(at).toString(16).padStart(4, "0")}`;
  return json.replace(unsafe, (char) =>
    char === "\n" || char === "\r" ? "\n" : unit(char, 0) + (char.length > 1 ? unit(char, 1) : ""),
  );
}

/**
 * Folds case to one spelling, also for letters beyond ASCII whose other case is an ASCII letter (\u017f of s, \u212a of
 * k): servers in Go and .NET treat keys that differ only in this way as equal.
 */
export const foldCase = (text: string): string => text.toLowerCase().toUpperCase();

/** Copies a text into memory of its own; a slice would keep the whole text that it was cut from alive. */
export const copied = (part: string): string => [part, ""].join("");

/** Returns the first `max` characters, with an ellipsis if anything was cut; never half of a surrogate pair. */
export function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  const end = /[\ud800-\udbff]/.test(text.charAt(max - 2)) ? max - 2 : max - 1;
  return `${copied(text.slice(0, end))}…`;
}

/** Returns the first `max` bytes of UTF-8 without splitting a character. */
export function cutBytes(text: string, max: number): string {
  if (text.length * 3 <= max || Buffer.byteLength(text) <= max) return text;
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(max));
  return text.slice(0, read);
}
