const scheme = "sha256:";

/** Returns the SHA-256 of a key, hex; nothing else of a key is ever stored. */
export const hashKey = (key: string): string => Bun.SHA256.hash(key, "hex");

/** Returns a hash as written in place of its key, in the configuration file or among the tombstones. */
export const keyHash = (hash: string): string => scheme + hash;

/** Returns the hash in a text of `keyHash`. */
export const hashIn = (text: string): string => text.slice(scheme.length);

/** The form of a text of `keyHash`. */
export const keyHashPattern: RegExp = /^sha256:[0-9a-f]{64}$/;
