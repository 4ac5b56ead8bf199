import { denials, statusesOf } from "../../core/failure.ts";
import { canonicalName } from "../../core/name.ts";
import { unknownName } from "../../usage/counters.ts";
import type { AuditStats } from "../../control/schemas.ts";
import type { Archive } from "../archive.ts";
import { type Period, records } from "./records.ts";

const errors: ReadonlySet<string> = new Set(statusesOf("error"));

type Tallies = Map<string, AuditStats["consumers"][number]>;

/** Counts the records of all chains by what they say; `consumer` narrows it to one consumer's. */
export async function statsOf(archive: Archive, period: Period, consumer: string | null): Promise<AuditStats> {
  const chains = new Map(archive.chains().map((chain) => [chain, 0]));
  const byType: Record<string, number> = {};
  const byStatus: Record<string, number> = {};
  const tallies = { consumers: new Map() as Tallies, servers: new Map() as Tallies, tools: new Map() as Tallies };
  for await (const { chain, record } of records(archive, [...chains.keys()], period)) {
    if (consumer !== null && record.consumer !== consumer) continue;
    chains.set(chain, (chains.get(chain) ?? 0) + 1);
    byType[record.type] = (byType[record.type] ?? 0) + 1;
    // A call is counted by its ending.
    if (record.st === undefined) continue;
    const count = record.count ?? 1;
    byStatus[record.st] = (byStatus[record.st] ?? 0) + count;
    tally(tallies.consumers, record.consumer, record.st, count);
    tally(tallies.servers, record.srv, record.st, count);
    tally(tallies.tools, toolOf(record), record.st, count);
  }
  const sorted = (all: Tallies) => [...all.values()].sort((a, b) => b.calls - a.calls);
  return {
    chains: [...chains].map(([chain, count]) => ({ chain, records: count })),
    byType,
    byStatus,
    consumers: sorted(tallies.consumers),
    servers: sorted(tallies.servers),
    tools: sorted(tallies.tools),
  };
}

function toolOf({ srv, tool }: { readonly srv?: string | undefined; readonly tool?: string | undefined }) {
  if (tool === undefined) return undefined;
  return srv === undefined ? unknownName : canonicalName(srv, tool);
}

function tally(all: Tallies, name: string | undefined, status: string, count: number): void {
  if (name === undefined) return;
  const seen = all.get(name) ?? { name, calls: 0, errors: 0, denied: 0 };
  all.set(name, {
    name,
    calls: seen.calls + count,
    errors: seen.errors + (errors.has(status) ? count : 0),
    denied: seen.denied + (denials.has(status) ? count : 0),
  });
}
