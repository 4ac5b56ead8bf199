import { setImmediate } from "node:timers/promises";
import type { AuditBroker } from "../audit/broker.ts";
import { type Recorded, readRecord } from "../audit/record.ts";
import type { Logger } from "../core/log.ts";
import { openReader } from "../store/sqlite/reader.ts";
import type { StateStore } from "../store/sqlite/state.ts";

export type RebuildOptions = {
  readonly store: StateStore;
  readonly stateDir: string;
  /** As for `openReader`. */
  readonly main: string | null;
  readonly audit: AuditBroker;
  readonly log: Logger;
};

const pageRows = 2000;

/**
 * Brings back into a store that is new what the log says of keys: whoever deletes the store must not revive a revoked
 * key or end a freeze by it. Stored keys themselves are gone. Reads the whole log, and only then.
 */
export async function rebuildKeys({ store, stateDir, main, audit, log }: RebuildOptions): Promise<void> {
  if (store.knowsLog()) return;
  const { revoked, frozen, created } = await readActs(stateDir, main);
  const stored = new Set([...store.keys().map(({ id }) => id), ...store.tombstones()]);
  const missing = [...revoked].filter((id) => !stored.has(id));
  const lost = created.filter((id) => !stored.has(id) && !revoked.has(id)).length;
  const at = Date.now();
  for (const id of missing) store.addTombstone(id, at);
  const thaws = frozen && !store.frozen();
  if (thaws) store.setFrozen(true);
  if (missing.length > 0 || lost > 0 || thaws) {
    const facts = { revoked: missing.length, frozen, lost };
    await audit.note({ type: "key.rebuilt", actor: "system", facts });
    log.warn(
      "mcpgw.db is new, but the log is not: revocations and freeze are taken from it, stored keys are lost",
      facts,
    );
  }
  store.setKnowsLog();
}

type Acts = { readonly revoked: Set<string>; frozen: boolean; readonly created: string[] };

async function readActs(stateDir: string, main: string | null): Promise<Acts> {
  const acts: Acts = { revoked: new Set(), frozen: false, created: [] };
  const reader = openReader(stateDir, main);
  try {
    for (const chain of reader.chains()) {
      for (let from = 1; ;) {
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

function take({ type, facts }: Recorded, acts: Acts): void {
  const { key, replaces } = facts ?? {};
  if (type === "key.frozen") acts.frozen = true;
  if (type === "key.unfrozen") acts.frozen = false;
  if (type === "key.revoked" && typeof key === "string") acts.revoked.add(key);
  if (type === "key.rotated" && typeof replaces === "string") acts.revoked.add(replaces);
  if ((type === "key.created" || type === "key.rotated") && typeof key === "string") acts.created.push(key);
}
