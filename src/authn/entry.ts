import { compileCidr } from "../core/cidr.ts";
import type { Path } from "../core/finding.ts";
import { hashIn, hashKey } from "../core/key-hash.ts";
import type { Loss, Principal } from "../core/principal.ts";
import { type Rate, toRate } from "../core/rate.ts";
import type { StoredKey } from "../core/store.ts";
import { isMalformedKey } from "./new-key.ts";
import type { KeyOptions } from "./options.ts";
import { weakness } from "./strength.ts";

/**
 * An error about a key, in the configuration or in an operator's request. The message names the key and the remedy, but
 * never the key's secret.
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

export type Entry = Omit<StoredKey, "perMinute" | "createdAt" | "revokedAt"> & {
  /** Epoch ms; null for a key from the configuration. */
  readonly createdAt: number | null;
  readonly rate: Rate | null;
  /** Reports whether the key may be used from this address. */
  readonly allows: (ip: string) => boolean;
  readonly source: "config" | "store";
  /** Why the key is never accepted (such as too weak or mistyped); null if it can be. */
  readonly inert: string | null;
  revoked: boolean;
  /** Created on first use; `controller` ends the streams that depend on it. */
  principal: Principal | null;
  controller: AbortController | null;
  /** Why the latest principal lost its rights; null while it has them. */
  lost: Loss | null;
};

function compileCidrs(id: string, cidrs: readonly string[]): (ip: string) => boolean {
  if (cidrs.length === 0) return () => true;
  const tests = cidrs.map((text) => {
    const test = compileCidr(text);
    if (!test)
      throw new KeyError(`key ${id}: "${text}" is not a network; write e.g. 10.0.0.0/8, 2001:db8::/32 or one address`);
    return test;
  });
  return (ip) => tests.some((test) => test(ip));
}

/** Returns why a configured key is never accepted, and what to do; null if it can be accepted. */
export function inertReason(key: string): string | null {
  if (isMalformedKey(key)) return "is mistyped or truncated (its checksum does not match), so it is never accepted";
  const reason = weakness(key);
  return reason && `${reason}, so it is never accepted; create one with \`mcpgw keys create\``;
}

const unused = { principal: null, controller: null, lost: null };

/** Throws KeyError. */
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
    inert: key === undefined ? null : inertReason(key),
    revoked: false,
    ...unused,
  };
}

/** Throws KeyError. */
export function fromStored(key: StoredKey): Entry {
  const { perMinute, revokedAt, ...facts } = key;
  const rate = perMinute === null ? null : toRate(perMinute);
  const allows = compileCidrs(key.id, key.cidrs);
  return { ...facts, rate, allows, source: "store", inert: null, revoked: revokedAt !== null, ...unused };
}

/** Reports whether two entries with the same id are the same key with the same rights, so that a reload can keep it. */
export function sameKey(a: Entry, b: Entry): boolean {
  const facts = ({ hash, name, consumerId, roles, enabled, expiresAt, rate, cidrs, inert }: Entry): string =>
    JSON.stringify([hash, name, consumerId, roles, enabled, expiresAt, rate, cidrs, inert]);
  return facts(a) === facts(b);
}
