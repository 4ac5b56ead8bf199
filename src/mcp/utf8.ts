const strict = new TextDecoder("utf-8", { fatal: true });
const loose = new TextDecoder();

/** Appended to a text whose bytes were not UTF-8. No JSON text ends with this character. */
const broken = "\u0000";

/**
 * Decodes bytes. JSON must be UTF-8 (RFC 8259 §8.1), and replacement characters are not what was sent, so invalid bytes
 * yield a text that no JSON parser accepts but that may still show an id to answer to.
 */
export function decodeUtf8(bytes: Uint8Array | ArrayBuffer): string {
  try {
    return strict.decode(bytes);
  } catch {
    return loose.decode(bytes) + broken;
  }
}

/** Whether a text is longer than `bytes` in UTF-8, in which no character of a string takes more than three. */
export function isLonger(text: string, bytes: number): boolean {
  return text.length * 3 > bytes && Buffer.byteLength(text) > bytes;
}

/** Returns a sentence that says why a text is not JSON. */
export function whyNoJson(text: string): string {
  return text.endsWith(broken) ? "The message is not valid UTF-8." : "The message is not valid JSON.";
}
