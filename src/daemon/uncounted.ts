import type { AuditReader, UsageQuery, UsageRow, UsageStore } from "../core/store.ts";
import type { Counted } from "../store/sqlite/usage.ts";
import { rollUpPage } from "./rollup.ts";

const hourUs = 3_600_000_000;

type Limits = {
  /** The last record of a chain that may be counted. */
  readonly reach: (chain: string) => number;
  /** Told of a chain that cannot be read, and of its last record that is counted. */
  readonly cutShort: (chain: string, upto: number) => void;
};

/**
 * Usage with what the log holds beyond what was counted: a gateway that was killed left it to the next start, and on a
 * full disk no count can be stored. Nothing is written. One damaged record does not take away all figures.
 */
export function withUncounted(
  reader: AuditReader,
  { rows, marks }: Counted,
  query: UsageQuery,
  { reach, cutShort }: Limits,
): UsageRow[] {
  const reached = new Map(marks);
  const more: UsageRow[] = [];
  const usage: UsageStore = {
    applied: (chain) => reached.get(chain) ?? 0,
    apply(chain, _from, upto, counted) {
      reached.set(chain, upto);
      more.push(...counted.filter((row) => isAskedFor(row, query)));
    },
    usage: () => [...rows, ...more],
  };
  for (const chain of reader.chains()) {
    try {
      const upto = reach(chain);
      while (rollUpPage(reader, chain, upto, { usage, index: null })) continue;
    } catch {
      cutShort(chain, usage.applied(chain));
    }
  }
  return usage.usage(query);
}

function isAskedFor({ consumer, hour }: UsageRow, query: UsageQuery): boolean {
  if (query.consumer !== undefined && query.consumer !== consumer) return false;
  const { since = 0, until = Number.MAX_SAFE_INTEGER } = query;
  return hour >= Math.floor(since / hourUs) && hour <= Math.floor(until / hourUs);
}
