import { setImmediate } from "node:timers/promises";
import type { AuditBroker } from "../audit/broker.ts";
import { type Recorded, readRecord } from "../audit/record.ts";
import type { KeyEvent, Read } from "../core/event.ts";
import { keyHashForm } from "../core/key-hash.ts";
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
/** All changes of keys are recorded here: a gateway without a daemon makes none. */
const chain = "main";

/**
 * Stores the revocations and the freeze that are on record but not in the store, which must not revive a revoked key or
 * end a freeze. The last process may have died after recording a change and before storing it, or the store is an older
 * copy: its `keysAsOf` tells what it has missed. Or it is new, since somebody has deleted it, and the whole log is
 * read. The keys that it never knew are lost.
 */
export async function rebuildKeys(options: RebuildOptions): Promise<void> {
  const { store, audit, log } = options;
  const known = store.keysAsOf();
  // Read before the log: a freeze that another process ends meanwhile is over.
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
    const facts = { revoked: missing.filter((mark) => !keyHashForm.test(mark)).length, frozen, lost };
    await audit.recordEvent({ type: "key.rebuilt", actor: "system", facts });
    log.warn(found(known === 0, lost), facts);
  }
  if (end !== known) noteKeysAsOf(store, end);
}

function found(isNew: boolean, lost: number): string {
  if (isNew)
    return "mcpgw.db is new, but the log is not: revocations and freeze are taken from it, stored keys are lost";
  if (lost === 0) return "mcpgw.db lacked revocations or a freeze that are on record: they are stored now";
  return "mcpgw.db is older than the log: revocations and freeze are taken from it, keys created since are lost";
}

/** Moves the store's `keysAsOf`; where that fails, a next start reads more of the log. */
export function noteKeysAsOf(store: StateStore, seq: number): void {
  try {
    store.setKeysAsOf(seq);
  } catch (error) {
    if (!(error instanceof StoreBusy || error instanceof StoreFailed)) throw error;
  }
}

/** `revoked`: ids, and the hashes of configured keys. */
type Acts = { readonly revoked: Set<string>; frozen: boolean; readonly created: Set<string> };

/** The acts recorded from `known` on; `end` is where the log goes on. */
async function readActs({ home }: RebuildOptions, known: number): Promise<Acts & { readonly end: number }> {
  const acts: Acts = { revoked: new Set(), frozen: false, created: new Set() };
  using reader = openReader(home);
  const isThere = reader.chains().includes(chain);
  // A log that is an older copy than the store ends before that.
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
  // Another version of this program may have written the record: a type that is unknown here changes nothing.
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
