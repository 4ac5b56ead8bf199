import { type AuditReader, type CountedUsage, hoursOf, type UsageQuery, type UsageRow } from "../core/store.ts";
import { rollUpPage, type UsageCounts } from "./rollup.ts";

export type Usage = {
  readonly rows: readonly UsageRow[];
  /** Chains that cannot be read to their end, each with its last counted record. */
  readonly cutShort: readonly { readonly chain: string; readonly upto: number }[];
};

type Uncounted = {
  /** Whether calls are metered; if not, nothing more is counted. */
  readonly metered: boolean;
  /** The last record of a chain that may be counted. */
  readonly reach: (chain: string) => number;
};

/**
 * Adds records that are not counted yet, as after a kill or on a full disk, to stored usage without writing anything. A
 * damaged record only cuts its own chain short.
 */
export function withUncounted(
  reader: AuditReader,
  { rows, marks }: CountedUsage,
  query: UsageQuery,
  { metered, reach }: Uncounted,
): Usage {
  const reached = new Map(marks);
  const more: UsageRow[] = [];
  const cutShort: { chain: string; upto: number }[] = [];
  const usage: UsageCounts = {
    usageMark: (chain) => reached.get(chain) ?? 0,
    apply(chain, _from, upto, counted) {
      reached.set(chain, upto);
      more.push(...counted.filter((row) => matchesUsageQuery(row, query)));
    },
  };
  for (const chain of metered ? reader.chains() : []) {
    try {
      const upto = reach(chain);
      while (rollUpPage(reader, chain, upto, { usage, index: null })) continue;
    } catch {
      cutShort.push({ chain, upto: usage.usageMark(chain) });
    }
  }
  return { rows: [...rows, ...more], cutShort };
}

function matchesUsageQuery({ consumer, hour }: UsageRow, query: UsageQuery): boolean {
  if (query.consumer !== undefined && query.consumer !== consumer) return false;
  const [first, end] = hoursOf(query);
  return hour >= first && hour < end;
}
