import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../core/error-text.ts";
import { createFile, readRegularSync } from "../core/files.ts";
import { StoreFailed } from "../core/store.ts";
import { hashBytes, sha256 } from "./chain.ts";

/** The key that signs checkpoints. */
export type SigningKey = {
  readonly privateKey: KeyObject;
  /** Raw Ed25519 key, 32 bytes. */
  readonly publicKey: Uint8Array;
};

/** Returns the installation id, a fingerprint of the signing key: another key means another installation. */
export function installOf(publicKey: Uint8Array): string {
  return sha256(publicKey).toHex().slice(0, 16);
}

/** Returns the path of the signing key in a state directory. */
export const signingKeyFile = (stateDir: string): string => join(stateDir, "signing.key");

/** Reads the signing key in a file, creating it (0600) on the first start. */
export async function loadSigningKey(path: string): Promise<SigningKey> {
  if (!existsSync(path)) await createFile(path, generateSigningKey());
  return signingKeyIn(path);
}

/** Reads the signing key in a file. Throws `StoreFailed` if there is none. */
export function signingKeyIn(path: string): SigningKey {
  try {
    return readSigningKey(readRegularSync(path).toString());
  } catch (error) {
    throw new StoreFailed(`no signing key can be read from ${path}; restore it (${messageOf(error)})`, {
      cause: error,
    });
  }
}

/** Generates an Ed25519 key as PKCS #8 PEM. */
export function generateSigningKey(): string {
  return generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

/** Reads a PKCS #8 PEM; throws if it holds no Ed25519 private key. */
export function readSigningKey(pem: string): SigningKey {
  const privateKey = createPrivateKey(pem);
  if (privateKey.asymmetricKeyType !== "ed25519") throw new Error("the signing key is not an Ed25519 key");
  const { x } = createPublicKey(privateKey).export({ format: "jwk" });
  return { privateKey, publicKey: Uint8Array.fromBase64(x ?? "", { alphabet: "base64url" }) };
}

/** Formats a public key as C2SP verifier key text, `<name>+<id>+<base64>`. */
export function publicKeyText(name: string, publicKey: Uint8Array): string {
  return `${name}+${keyId(name, publicKey).toHex()}+${Uint8Array.of(1, ...publicKey).toBase64()}`;
}

/** Parses verifier key text or 32 bytes in base64; null if it is neither, or if the id does not match the key. */
export function parsePublicKey(text: string): Uint8Array | null {
  // A verifier key is recognized by its key id, since base64 itself may contain plus signs.
  const [, name, id, encoded = text.trim()] = /^(\S+)\+([0-9a-f]{8})\+(\S+)$/.exec(text.trim()) ?? [];
  try {
    const bytes = Uint8Array.fromBase64(encoded);
    const key = bytes.length === hashBytes + 1 && bytes[0] === 1 ? bytes.slice(1) : bytes;
    const isMalformedKey = name !== undefined && keyId(name, key).toHex() !== id;
    return key.length === hashBytes && !isMalformedKey ? key : null;
  } catch {
    return null;
  }
}

/** Returns the C2SP key id: the first four bytes of SHA-256(name ‖ LF ‖ 0x01 ‖ key). */
export function keyId(name: string, publicKey: Uint8Array): Uint8Array {
  const hasher = new Bun.CryptoHasher("sha256");
  return new Uint8Array(hasher.update(`${name}\n\u0001`).update(publicKey).digest()).slice(0, 4);
}
