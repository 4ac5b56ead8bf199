/** Stands where something secret stood. */
export const mark = "[redacted]";

/** Characters of a secret: shorter values (a port, `true`) are too common to be hidden wherever they occur. */
export const leastSecret = 6;

/** Names whose values are secrets, as alternatives of a regular expression. */
export const secretWords = "password|passwd|passphrase|secret|token|credential|authorization|cookie";

/** A name that ends like one of them: of an environment variable, a header, a flag. */
export const secretName: RegExp = new RegExp(`(?:key|${secretWords})$`, "i");

/** Values as `maskValues` wants them: the longest first, so that one which begins another leaves no rest of that. */
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

/** A text with the mark in place of each of the values. */
export function maskValues(text: string, values: readonly string[]): string {
  let out = text;
  for (const value of values) if (out.includes(value)) out = out.replaceAll(value, mark);
  return out;
}
