const scheme = "sha256:";

/** SHA-256 of a key, hex: all that is ever stored of it. */
export const hashKey = (key: string): string => Bun.SHA256.hash(key, "hex");

/** A hash as written in place of its key, in a configuration file or among the tombstones. */
export const keyHash = (hash: string): string => scheme + hash;

/** The hash in a text of `keyHash`. */
export const hashIn = (text: string): string => text.slice(scheme.length);

/** What a text of `keyHash` looks like. */
export const keyHashForm: RegExp = /^sha256:[0-9a-f]{64}$/;
