import { compileCidr } from "../core/cidr.ts";
import type { Path } from "../core/finding.ts";
import { hashIn, hashKey } from "../core/key-hash.ts";
import type { Loss, Principal } from "../core/principal.ts";
import { type Rate, toRate } from "../core/rate.ts";
import type { StoredKey } from "../core/store.ts";
import { isMistyped } from "./new-key.ts";
import type { KeyOptions } from "./options.ts";
import { weakness } from "./strength.ts";

/**
 * A mistake about a key, in the configuration or by an operator. The message names the key and what to do, never its
 * text.
 */
export class KeyError extends Error {
  override readonly name = "KeyError";
  /** The configured value that is wrong; null for an operator's request. */
  readonly path: Path | null;

  constructor(message: string, path: Path | null = null) {
    super(message);
    this.path = path;
  }
}

/** One key of the keyring. */
export type Entry = Omit<StoredKey, "perMinute" | "createdAt" | "revokedAt"> & {
  /** Epoch ms; null for a key of the configuration. */
  readonly createdAt: number | null;
  readonly rate: Rate | null;
  /** Whether the key may be used from this address. */
  readonly allows: (ip: string) => boolean;
  readonly source: "config" | "store";
  /** Why the key is never accepted (too weak, mistyped); null when it is. */
  readonly inert: string | null;
  revoked: boolean;
  /** Made on first use; `controller` ends the streams that depend on it. */
  principal: Principal | null;
  controller: AbortController | null;
  /** Why its latest principal lost its rights; null while it has them. */
  lost: Loss | null;
};

function compileCidrs(id: string, cidrs: readonly string[]): (ip: string) => boolean {
  if (cidrs.length === 0) return () => true;
  const tests = cidrs.map((text) => {
    const test = compileCidr(text);
    if (!test)
      throw new KeyError(`key ${id}: "${text}" is no network; write e.g. 10.0.0.0/8, 2001:db8::/32 or one address`);
    return test;
  });
  return (ip) => tests.some((test) => test(ip));
}

/** Why a configured key is never accepted, and what to do; null if it is accepted. */
export function whyInert(key: string): string | null {
  if (isMistyped(key)) return "is mistyped or cut (its checksum does not match), so it is never accepted";
  const reason = weakness(key);
  return reason && `${reason}, so it is never accepted; create one with \`mcpgw keys create\``;
}

const unused = { principal: null, controller: null, lost: null };

/** An entry of a key in the configuration file. Throws KeyError. */
export function fromOptions(options: KeyOptions): Entry {
  const { id, key, keyHash, consumerId, roles, enabled, expiresAt, cidrs } = options;
  return {
    id,
    hash: key === undefined ? hashIn(keyHash ?? "") : hashKey(key),
    name: options.name ?? id,
    consumerId,
    roles,
    enabled,
    createdAt: null,
    expiresAt: expiresAt === undefined ? null : Date.parse(expiresAt),
    rate: options.rateLimit === undefined ? null : toRate(options.rateLimit),
    cidrs,
    allows: compileCidrs(id, cidrs),
    source: "config",
    inert: key === undefined ? null : whyInert(key),
    revoked: false,
    ...unused,
  };
}

/** An entry of a stored key. Throws KeyError. */
export function fromStored(key: StoredKey): Entry {
  const { perMinute, revokedAt, ...facts } = key;
  const rate = perMinute === null ? null : toRate(perMinute);
  const allows = compileCidrs(key.id, key.cidrs);
  return { ...facts, rate, allows, source: "store", inert: null, revoked: revokedAt !== null, ...unused };
}

/** Whether two entries with one id are the same key with the same rights, so that a reload can keep it. */
export function sameKey(a: Entry, b: Entry): boolean {
  const facts = ({ hash, name, consumerId, roles, enabled, expiresAt, rate, cidrs, inert }: Entry): string =>
    JSON.stringify([hash, name, consumerId, roles, enabled, expiresAt, rate, cidrs, inert]);
  return facts(a) === facts(b);
}
