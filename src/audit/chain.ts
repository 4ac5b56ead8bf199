/** A SHA-256 hash as raw bytes. */
export type Hash = Uint8Array;

/** Length of a SHA-256 hash, bytes. */
export const hashBytes = 32;

/** Returns the hash that is both chain link and Merkle leaf: SHA-256(0x00 ‖ rec), the leaf hash of RFC 6962. */
export function leafOf(rec: string): Hash {
  return sha256(`\0${rec}`);
}

/** Returns the SHA-256 hash of bytes, or of a text's UTF-8. */
export function sha256(input: string | Uint8Array): Hash {
  const hash = new Uint8Array(hashBytes);
  Bun.SHA256.hash(input, hash);
  return hash;
}

/** Returns `prev` of a chain's first record, which binds the chain to its name and its signing key. */
export function genesis(chain: string, publicKey: Uint8Array): Hash {
  const hasher = new Bun.CryptoHasher("sha256");
  return new Uint8Array(hasher.update(`mcpgw-audit-v1\n${chain}`).update(publicKey).digest());
}

/** Encodes a hash as records write it: base64url without padding. */
export function hashText(hash: Hash): string {
  return hash.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Reports whether two hashes are equal; they are public, so the comparison need not be constant-time. */
export function sameHash(a: Hash, b: Hash): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Length of a commitment's salt, bytes. */
export const saltBytes = 32;

/** Returns the commitment to a text that may have to be erased later: HMAC-SHA256(salt, text), base64url. */
export function commitmentTo(salt: Uint8Array, text: string): string {
  return new Bun.CryptoHasher("sha256", salt).update(text).digest("base64url");
}
