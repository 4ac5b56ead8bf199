import { setImmediate } from "node:timers/promises";
import type { AuditBroker } from "../audit/broker.ts";
import { type Recorded, readRecord } from "../audit/record.ts";
import type { KeyEvent, Read } from "../core/event.ts";
import type { Logger } from "../core/log.ts";
import { openReader } from "../store/sqlite/reader.ts";
import type { StateStore } from "../store/sqlite/state.ts";

export type RebuildOptions = {
  readonly store: StateStore;
  readonly stateDir: string;
  /** As for `openReader`. */
  readonly main: string | null;
  readonly audit: AuditBroker;
  /** Every change of keys recorded before this sequence is stored, provided that the store belongs to this log. */
  readonly settled: number;
  readonly log: Logger;
};

const pageRows = 2000;

/**
 * Stores the revocations and the freeze that are on record but not in the store. The last process may have died after
 * recording a change and before storing it; such records come after `settled`. And somebody may have deleted the store:
 * that must not revive a revoked key or end a freeze, so for a new store the whole log is read. The keys are lost then.
 */
export async function rebuildKeys(options: RebuildOptions): Promise<void> {
  const { store, audit, log } = options;
  const isNew = !store.knowsLog();
  const { revoked, frozen, created } = await readActs(options, isNew);
  const stored = new Map(store.keys().map(({ id, revokedAt }) => [id, revokedAt !== null]));
  for (const id of store.tombstones()) stored.set(id, true);
  const missing = [...revoked].filter((id) => stored.get(id) !== true);
  const lost = isNew ? [...created].filter((id) => !stored.has(id) && !revoked.has(id)).length : 0;
  const at = Date.now();
  for (const id of missing) {
    if (stored.has(id)) store.revokeKey(id, at);
    else store.addTombstone(id, at);
  }
  const freezes = frozen && !store.frozen();
  if (freezes) store.setFrozen(true);
  if (missing.length > 0 || lost > 0 || freezes) {
    const facts = { revoked: missing.length, frozen, lost };
    await audit.recordEvent({ type: "key.rebuilt", actor: "system", facts });
    log.warn(
      isNew
        ? "mcpgw.db is new, but the log is not: revocations and freeze are taken from it, stored keys are lost"
        : "mcpgw.db lacked revocations or a freeze that are on record: they are stored now",
      facts,
    );
  }
  if (isNew) store.setKnowsLog();
}

type Acts = { readonly revoked: Set<string>; frozen: boolean; readonly created: Set<string> };

async function readActs({ stateDir, main, audit, settled }: RebuildOptions, all: boolean): Promise<Acts> {
  const acts: Acts = { revoked: new Set(), frozen: false, created: new Set() };
  const reader = openReader(stateDir, main);
  try {
    for (const chain of all ? reader.chains() : [audit.chain]) {
      for (let from = all ? 1 : settled; ;) {
        const rows = reader.page(chain, from, pageRows);
        for (const { rec } of rows) if (rec.includes('"type":"key.')) take(readRecord(rec), acts);
        const last = rows.at(-1);
        if (!last) break;
        from = last.seq + 1;
        await setImmediate();
      }
    }
  } finally {
    reader.close();
  }
  return acts;
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
