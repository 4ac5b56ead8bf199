import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { orNull } from "../core/attempt.ts";
import type { Clock } from "../core/clock.ts";
import { maxSealedLength, type Sealer } from "../core/ports.ts";

/** Two generations of 256-bit keys: the first seals, both can open. */
export type SealKeys = readonly [current: Uint8Array, previous: Uint8Array];

const algorithm = "aes-256-gcm";
export const sealKeyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const expiryBytes = 8;

/**
 * Seals with AES-256-GCM (NIST SP 800-38D). The result is base64url of a random 96-bit nonce, the expiry (ms since the
 * epoch, big-endian) and the ciphertext with its tag. Purpose and context are authenticated but not included.
 */
export function createSealer(keys: SealKeys, clock: Clock): Sealer {
  const [current] = keys;
  return {
    seal(purpose, context, value, ttl) {
      const nonce = randomBytes(nonceBytes);
      const expiry = Buffer.alloc(expiryBytes);
      expiry.writeBigUInt64BE(BigInt(Math.floor(clock.now() / 1000 + ttl)));
      const cipher = createCipheriv(algorithm, current, nonce);
      cipher.setAAD(bound(purpose, context, expiry));
      const text = Buffer.concat([cipher.update(value, "utf8"), cipher.final()]);
      return Buffer.concat([nonce, expiry, text, cipher.getAuthTag()]).toString("base64url");
    },
    open(purpose, context, sealed) {
      if (sealed.length > maxSealedLength) return null;
      const bytes = Buffer.from(sealed, "base64url");
      // Base64url decodes leniently, but only one spelling of a sealed text is valid.
      if (bytes.length < nonceBytes + expiryBytes + tagBytes || bytes.toString("base64url") !== sealed) return null;
      const expiry = bytes.subarray(nonceBytes, nonceBytes + expiryBytes);
      if (Number(expiry.readBigUInt64BE()) < clock.now() / 1000) return null;
      for (const key of keys) {
        const value = decrypt(key, bytes, bound(purpose, context, expiry));
        if (value !== null) return value;
      }
      return null;
    },
  };
}

/** Returns the additional authenticated data. The lengths keep its parts apart. */
function bound(purpose: string, context: string, expiry: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${purpose.length}:${purpose}${context.length}:${context}`), expiry]);
}

function decrypt(key: Uint8Array, bytes: Buffer, aad: Buffer): string | null {
  const decipher = createDecipheriv(algorithm, key, bytes.subarray(0, nonceBytes));
  decipher.setAAD(aad);
  decipher.setAuthTag(bytes.subarray(bytes.length - tagBytes));
  const text = bytes.subarray(nonceBytes + expiryBytes, bytes.length - tagBytes);
  return orNull(() => Buffer.concat([decipher.update(text), decipher.final()]).toString("utf8"));
}
