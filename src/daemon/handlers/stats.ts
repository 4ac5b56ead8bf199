import type { Recorded } from "../../audit/record.ts";
import type { Answer } from "../../control/api.ts";
import { type AbortSignalLike, throwIfGivenUp } from "../../core/cancel.ts";
import { unknownTargets } from "../../core/failure.ts";
import { callsOf, createCounters } from "../../usage/counters.ts";
import { groupUsage } from "../../usage/query.ts";
import type { Archive } from "../archive.ts";
import { createTurnQueue } from "./one-at-a-time.ts";
import { endOf, partly, type Period, records } from "./records.ts";

type Stats = Answer<"audit.stats">;

/** Queue for counts. A count reads the whole log and parses every record in the thread that serves calls. */
export const queueCount = createTurnQueue();

/**
 * Counts the records of all chains by type, status, consumer, server and tool. `consumer` limits the count to that
 * consumer and to what it may see. A chain that cannot be read to its end is counted up to that point. Throws if no
 * chain can be read to its end, or when `signal` fires.
 */
export async function statsOf(
  archive: Archive,
  period: Period,
  consumer: string | null,
  signal: AbortSignalLike,
): Promise<Stats> {
  const chains = new Map(archive.chains().map((chain) => [chain, 0]));
  const byType: Record<string, number> = {};
  const byStatus: Record<string, number> = {};
  const counters = createCounters();
  const add = (chain: string, record: Recorded): void => {
    if (consumer !== null && record.consumer !== consumer) return;
    chains.set(chain, (chains.get(chain) ?? 0) + 1);
    byType[record.type] = (byType[record.type] ?? 0) + 1;
    // Only the record that ends a call has a status.
    if (record.st !== undefined) byStatus[record.st] = (byStatus[record.st] ?? 0) + callsOf(record);
    // A consumer must not learn that something it named exists but is hidden.
    const hidden = consumer !== null && unknownTargets.has(record.code);
    counters.add(hidden ? { ...record, srv: "" } : record, 0);
  };
  const unread: string[] = [];
  // Checks the signal per page, because a period may exclude most records.
  const page: Archive["page"] = (...args) => {
    throwIfGivenUp(signal);
    return archive.page(...args);
  };
  for (const chain of chains.keys()) {
    try {
      const upto = await endOf(archive, chain);
      for await (const { record } of records({ ...archive, page }, chain, period, upto)) add(chain, record);
    } catch (error) {
      throwIfGivenUp(signal);
      unread.push(chain);
      if (unread.length === chains.size) throw error;
    }
  }
  const rows = counters.rows();
  const by = (what: "consumer" | "server" | "tool"): Stats["consumers"] =>
    groupUsage(rows, what).map(({ name, calls, errors, denied }) => ({ name, calls, errors, denied }));
  return {
    chains: [...chains].map(([chain, count]) => ({ chain, records: count })),
    ...partly(unread),
    byType,
    byStatus,
    consumers: by("consumer"),
    servers: by("server"),
    tools: by("tool"),
  };
}
