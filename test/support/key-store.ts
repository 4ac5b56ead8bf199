import type { NewKeyRequest } from "../../src/authn/keyring.ts";
import type { KeyStore, StoredKey } from "../../src/core/store.ts";

/** Returns a request for a key of one consumer, with no limits except those in `over`. */
export const keyRequest = (over: Partial<NewKeyRequest> = {}): NewKeyRequest => ({
  name: "Agent",
  consumerId: "agent",
  roles: ["reader"],
  expiresAt: null,
  perMinute: null,
  cidrs: [],
  ...over,
});

/** Returns a key as it is stored, with no limits except those in `over`. */
export const storedKey = (over: Pick<StoredKey, "id" | "hash"> & Partial<StoredKey>): StoredKey => ({
  name: over.id,
  consumerId: "agent",
  roles: ["reader"],
  enabled: true,
  expiresAt: null,
  perMinute: null,
  cidrs: [],
  createdAt: 0,
  revokedAt: null,
  ...over,
});

/** Returns a key store in memory, which outlives the keyrings built on it as a database does. */
export function memoryKeyStore(): KeyStore {
  const keys = new Map<string, StoredKey>();
  const tombstones = new Set<string>();
  const uses = new Map<string, number>();
  let frozen = false;
  let version = 0;
  return {
    version: () => String(version),
    keys: () => [...keys.values()],
    addKey(key) {
      version++;
      keys.set(key.id, key);
    },
    revokeKey(id, at) {
      version++;
      const key = keys.get(id);
      if (key) keys.set(id, { ...key, revokedAt: at });
    },
    tombstones: () => [...tombstones],
    addTombstone(id) {
      version++;
      tombstones.add(id);
    },
    frozen: () => frozen,
    setFrozen(on) {
      version++;
      frozen = on;
    },
    uses: () => uses,
    saveUses(later) {
      for (const [id, at] of later) uses.set(id, Math.max(at, uses.get(id) ?? 0));
    },
  };
}
