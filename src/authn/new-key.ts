import { hashKey } from "../core/key-hash.ts";

// `mgw_<env>_<8 id><40 random>_<crc32>`: the id is public; the checksum lets scanners and people recognize a typo.
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const form = /^mgw_([a-z0-9]{1,16})_([0-9A-Za-z]{8})([0-9A-Za-z]{32,})_([0-9a-f]{8})$/;

export type NewKey = { readonly id: string; readonly key: string; readonly hash: string };

const checksum = (text: string): string => Bun.hash.crc32(text).toString(16).padStart(8, "0");

function randomText(length: number): string {
  let text = "";
  while (text.length < length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(length))) {
      // 248 = 4 × 62: with larger bytes, the remainder would favor some characters.
      if (byte < 248 && text.length < length) text += alphabet[byte % 62];
    }
  }
  return text;
}

/** Generates a key of 238 random bits; the full text is not kept. */
export function newKey(): NewKey {
  const id = randomText(8);
  const body = `mgw_live_${id}${randomText(40)}`;
  const key = `${body}_${checksum(body)}`;
  return { id, key, hash: hashKey(key) };
}

/** Reports whether a text looks like a key of this gateway but is mistyped or truncated. */
export function isMalformedKey(key: string): boolean {
  if (!key.startsWith("mgw_")) return false;
  return !form.test(key) || checksum(key.slice(0, -9)) !== key.slice(-8);
}
