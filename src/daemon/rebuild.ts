import { setImmediate } from "node:timers/promises";
import type { AuditBroker } from "../audit/broker.ts";
import { type Recorded, readRecord } from "../audit/record.ts";
import type { KeyEvent, Read } from "../core/event.ts";
import { keyHashPattern } from "../core/key-hash.ts";
import type { Logger } from "../core/log.ts";
import { StoreBusy, StoreFailed } from "../core/store.ts";
import type { ChainHome } from "../store/sqlite/paths.ts";
import { openReader } from "../store/sqlite/reader.ts";
import type { StateStore } from "../store/sqlite/state.ts";

export type RebuildOptions = {
  readonly store: StateStore;
  readonly home: ChainHome;
  readonly audit: AuditBroker;
  readonly log: Logger;
};

const pageRows = 2000;
/** The chain that records all key changes; a gateway without a daemon makes none. */
const chain = "main";

/**
 * Stores revocations and a freeze that are in the log but not in the store: the last process may have died between
 * recording and storing a change, or the store is an older copy. Reads the log from the store's `keysAsOf`, or all of
 * it if the store is new because it was deleted. Keys that the store never held are lost.
 */
export async function rebuildKeys(options: RebuildOptions): Promise<void> {
  const { store, audit, log } = options;
  const known = store.keysAsOf();
  // Read before the log, so that a freeze that another process ends in the meantime is not set again.
  const wasFrozen = store.frozen();
  const { revoked, frozen, created, end } = await readActs(options, known);
  const stored = new Map(store.keys().map(({ id, revokedAt }) => [id, revokedAt !== null]));
  for (const id of store.tombstones()) stored.set(id, true);
  const missing = [...revoked].filter((id) => stored.get(id) !== true);
  const lost = [...created].filter((id) => !stored.has(id) && !revoked.has(id)).length;
  const at = Date.now();
  for (const id of missing) {
    if (stored.has(id)) store.revokeKey(id, at);
    else store.addTombstone(id, at);
  }
  const freezes = frozen && !wasFrozen;
  if (freezes) store.setFrozen(true);
  if (missing.length > 0 || lost > 0 || freezes) {
    const facts = { revoked: missing.filter((mark) => !keyHashPattern.test(mark)).length, frozen, lost };
    await audit.recordEvent({ type: "key.rebuilt", actor: "system", facts });
    log.warn(found(known === 0, lost), facts);
  }
  if (end !== known) noteKeysAsOf(store, end);
}

function found(isNew: boolean, lost: number): string {
  if (isNew)
    return "mcpgw.db is new, but the log is not: revocations and freeze are restored from the log, stored keys are lost";
  if (lost === 0) return "mcpgw.db lacked revocations or a freeze that are in the log: they are stored now";
  return "mcpgw.db is older than the log: revocations and freeze are restored from the log, newer keys are lost";
}

/** Sets the store's `keysAsOf`. If that fails, the next start reads more of the log. */
export function noteKeysAsOf(store: StateStore, seq: number): void {
  try {
    store.setKeysAsOf(seq);
  } catch (error) {
    if (!(error instanceof StoreBusy || error instanceof StoreFailed)) throw error;
  }
}

/** Key changes found in the log. `revoked` holds key ids, and hashes of configured keys. */
type Acts = { readonly revoked: Set<string>; frozen: boolean; readonly created: Set<string> };

/** Reads the key changes recorded from `known` on; `end` is the sequence of the next record. */
async function readActs({ home }: RebuildOptions, known: number): Promise<Acts & { readonly end: number }> {
  const acts: Acts = { revoked: new Set(), frozen: false, created: new Set() };
  using reader = openReader(home);
  const isThere = reader.chains().includes(chain);
  // A log that is an older copy than the store ends before `known`.
  const newest = isThere ? (reader.last(chain)?.seq ?? 0) : Infinity;
  for (let end = Math.max(1, Math.min(known, newest + 1)); ;) {
    const rows = isThere ? reader.page(chain, end, pageRows) : [];
    for (const { rec } of rows) if (rec.includes('"type":"key.')) take(readRecord(rec), acts);
    const last = rows.at(-1);
    if (!last) return { ...acts, end };
    end = last.seq + 1;
    await setImmediate();
  }
}

function take({ type, facts = {} }: Recorded, acts: Acts): void {
  // Another version of mcpgw may have written the record, so an unknown type is ignored.
  const event = { type, facts } as Read<KeyEvent>;
  switch (event.type) {
    case "key.created":
      return add(acts.created, event.facts.key);
    case "key.rotated":
      add(acts.revoked, event.facts.replaces);
      return add(acts.created, event.facts.key);
    case "key.revoked":
      add(acts.revoked, event.facts.keyHash);
      return add(acts.revoked, event.facts.key);
    case "key.frozen":
      return void (acts.frozen = true);
    case "key.unfrozen":
      return void (acts.frozen = false);
    case "key.rebuilt":
      return;
  }
}

function add(ids: Set<string>, id: unknown): void {
  if (typeof id === "string") ids.add(id);
}
