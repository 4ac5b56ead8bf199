/** Stands in place of a secret. */
export const mark = "[redacted]";

/** The least length of a secret: shorter values (a port, `true`) are too common to be hidden wherever they occur. */
export const leastSecret = 6;

/** Names whose values are secrets, as alternatives of a regular expression. */
export const secretWords = "password|passwd|passphrase|secret|token|credential|authorization|cookie";

/** A name that ends in one of these words: of an environment variable, a header or a flag. */
export const secretName: RegExp = new RegExp(`(?:key|${secretWords})$`, "i");

/**
 * Values in the order that `maskValues` needs: the longest first, so that a value which begins another leaves no rest
 * of it.
 */
export function maskable(values: Iterable<string>): string[] {
  return [...new Set(values)].filter((value) => value !== "").toSorted((a, b) => b.length - a.length);
}

/** Values of earlier configurations that are hidden besides those of now. */
const mostEarlier = 100;

/** Secrets of now, and known ones that are no longer in force: what was begun with those may still come back. */
export function withEarlier(now: readonly string[], known: readonly string[]): readonly string[] {
  const earlier = new Set(known).difference(new Set(now));
  return [...now, ...[...earlier].slice(0, mostEarlier)];
}

/** A text with each of the values replaced by the mark. */
export function maskValues(text: string, values: readonly string[]): string {
  let out = text;
  for (const value of values) if (out.includes(value)) out = out.replaceAll(value, mark);
  return out;
}
