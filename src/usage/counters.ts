import { denials, statusesOf, unknownTargets } from "../core/failure.ts";
import { hourUs, type UsageRow } from "../core/store.ts";

/** The members that metering reads from a record that ends a call. */
type Ended = {
  readonly type: string;
  readonly consumer?: string | undefined;
  readonly method?: string | undefined;
  readonly srv?: string | undefined;
  readonly tool?: string | undefined;
  readonly st?: string | undefined;
  readonly code?: string | undefined;
  /** Duration in µs; the mean if the record stands for several calls. */
  readonly us?: number | undefined;
  /** Bytes of arguments and of the result; means likewise. */
  readonly al?: number | undefined;
  readonly rl?: number | undefined;
  /** Number of calls that this record stands for; one if absent. */
  readonly count?: number | undefined;
};

/** Stands for all names that no server offers, since callers may invent any number of them. */
const unknownName = "(unknown)";

/** Methods that name an entry of a server's list, so that the number of names is limited. */
const listed: ReadonlySet<string> = new Set([
  "tools/call",
  "prompts/get",
  "tasks/get",
  "tasks/update",
  "tasks/cancel",
  "subscriptions/listen",
]);

/** Whether a record is a task's outcome, sent by its server to subscribers: it is not a call, but has a length. */
const isTold = ({ method, tool }: Ended): boolean => method === "subscriptions/listen" && tool !== undefined;

/** Returns the number of calls that a record stands for. */
export const callsOf = (record: Ended): number => (isTold(record) ? 0 : (record.count ?? 1));

/** Returns the name to count a call under. Names that callers choose (URIs, extension methods) share one. */
function nameOf({ method = "tools/call", srv = "", tool, code }: Ended): string {
  // A record that stands for many calls keeps no name, so their failure code decides.
  if (srv === "") return tool === undefined && !unknownTargets.has(code) ? "" : unknownName;
  if (listed.has(method)) return tool ?? "";
  if (method === "completion/complete") return "(completion)";
  return method.startsWith("resources/") ? "(resource)" : "(extension)";
}

/** Returns a row without its server and tool, for a reader who may not see them. */
export const unnamed = (row: UsageRow): UsageRow => ({ ...row, server: "", tool: unknownName });

/** Adds up usage per consumer, server, tool and hour. */
export type Counters = {
  /** `at` is epoch µs. */
  add(record: Ended, at: number): void;
  rows(): UsageRow[];
};

const ends: ReadonlySet<string> = new Set(["call.end", "call.refused", "call.lost", "auth.failed"]);
const errors = new Set(statusesOf("error"));

/** Creates counters that start at zero. */
export function createCounters(): Counters {
  const sums = new Map<string, UsageRow>();
  return {
    add(record, at) {
      if (!ends.has(record.type)) return;
      const { consumer = "", srv: server = "", st = "" } = record;
      const count = callsOf(record);
      const tool = nameOf(record);
      const hour = Math.floor(at / hourUs);
      const key = `${hour}\0${consumer}\0${server}\0${tool}`;
      const own = {
        calls: count,
        errors: errors.has(st) ? count : 0,
        denied: denials.has(st) ? count : 0,
        latencySumUs: (record.us ?? 0) * count,
        bytesIn: (record.al ?? 0) * count,
        bytesOut: (record.rl ?? 0) * (record.count ?? 1),
      };
      sums.set(key, { consumer, server, tool, hour, ...sumOf(sums.get(key) ?? nothing, own) });
    },
    rows: () => [...sums.values()],
  };
}

/** Totals of a group of calls. */
export type Sums = Pick<UsageRow, "calls" | "errors" | "denied" | "latencySumUs" | "bytesIn" | "bytesOut">;

export const nothing: Sums = { calls: 0, errors: 0, denied: 0, latencySumUs: 0, bytesIn: 0, bytesOut: 0 };

/** Returns the totals of two groups of calls together. */
export const sumOf = (a: Sums, b: Sums): Sums => ({
  calls: a.calls + b.calls,
  errors: a.errors + b.errors,
  denied: a.denied + b.denied,
  latencySumUs: a.latencySumUs + b.latencySumUs,
  bytesIn: a.bytesIn + b.bytesIn,
  bytesOut: a.bytesOut + b.bytesOut,
});
