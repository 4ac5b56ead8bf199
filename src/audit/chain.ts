/** SHA-256 as raw bytes. */
export type Hash = Uint8Array;

/** Length of a SHA-256, bytes. */
export const hashBytes = 32;

/** Chain link and Merkle leaf in one: SHA-256(0x00 ‖ rec), the leaf hash of RFC 6962. */
export function leafOf(rec: string): Hash {
  return sha256(`\0${rec}`);
}

/** SHA-256 of bytes, or of a text's UTF-8. */
export function sha256(input: string | Uint8Array): Hash {
  const hash = new Uint8Array(hashBytes);
  Bun.SHA256.hash(input, hash);
  return hash;
}

/** `prev` of a chain's first record: binds the chain to its name and its signing key. */
export function genesis(chain: string, publicKey: Uint8Array): Hash {
  const hasher = new Bun.CryptoHasher("sha256");
  return new Uint8Array(hasher.update(`mcpgw-audit-v1\n${chain}`).update(publicKey).digest());
}

/** A hash as records write it: base64url without padding. */
export function hashText(hash: Hash): string {
  return hash.toBase64({ alphabet: "base64url", omitPadding: true });
}

/** Whether two hashes are equal; they are public, so time does not matter. */
export function sameHash(a: Hash, b: Hash): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Length of the salt of a commitment, bytes. */
export const saltBytes = 32;

/** Commitment to a text that may have to be forgotten: HMAC-SHA256(salt, text), base64url. */
export function commitmentTo(salt: Uint8Array, text: string): string {
  return new Bun.CryptoHasher("sha256", salt).update(text).digest("base64url");
}
