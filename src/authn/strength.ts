/** Maximum length of a key: far longer than any key, and far shorter than a text that takes time to hash. */
export const maxKeyLength = 512;

const minEntropyBits = 128;
const minDistinctChars = 8;
const placeholder =
  /(^|[^a-z0-9])(your|example|sample|placeholder|dummy|change[-_]?me|replace[-_]?me|x{4,})([^a-z0-9]|$)/i;

// A run of letters in one case reads as a word, so it counts as one dictionary word, not by its letters.
const word = /^([a-z]{1,12}|[A-Z]{1,12}|[A-Z][a-z]{1,11})$/;
const wordBits = 12;

function poolSize(segment: string): number {
  if (/^\d+$/.test(segment)) return 10;
  if (/^[0-9a-f]+$|^[0-9A-F]+$/.test(segment)) return 16;
  return (/[0-9]/.test(segment) ? 10 : 0) + (/[a-z]/.test(segment) ? 26 : 0) + (/[A-Z]/.test(segment) ? 26 : 0);
}

const segmentBits = (segment: string): number =>
  word.test(segment) ? wordBits : segment.length * Math.log2(poolSize(segment));

// A header that was sent twice arrives joined by a comma, and HTTP strips whitespace around a header value.
const unsendable = /^\s|[,\r\n]|\s$/;

/**
 * Returns why a configured key is never accepted: no header can carry it, it is too long, or it is too easy to guess
 * (under an estimated 128 bits, or a placeholder). Returns null if it is accepted.
 */
export function weakness(key: string): string | null {
  if (unsendable.test(key)) return "has a comma, a line break, or leading or trailing space, which no header can carry";
  if (key.length > maxKeyLength) return `is longer than ${maxKeyLength} characters, the maximum length of a key`;
  if (placeholder.test(key)) return "is a placeholder";
  if (new Set(key).size < minDistinctChars) return "repeats a few characters";
  const segments = key.split(/[^0-9A-Za-z]+/).filter((segment) => segment !== "");
  const bits = segments.reduce((sum, segment) => sum + segmentBits(segment), 0);
  return bits < minEntropyBits ? `has about ${Math.floor(bits)} bits of entropy; a key needs ${minEntropyBits}` : null;
}
