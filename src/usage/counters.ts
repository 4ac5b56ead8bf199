import { denials, statusesOf, unknownThings } from "../core/failure.ts";
import { hourUs, type UsageRow } from "../core/store.ts";

/** What metering reads of a record that ends a call. */
type Ended = {
  readonly type: string;
  readonly consumer?: string | undefined;
  readonly method?: string | undefined;
  readonly srv?: string | undefined;
  readonly tool?: string | undefined;
  readonly st?: string | undefined;
  readonly code?: string | undefined;
  /** Duration, µs; the mean of those it stands for. */
  readonly us?: number | undefined;
  /** Bytes of arguments and result; the mean likewise. */
  readonly al?: number | undefined;
  readonly rl?: number | undefined;
  /** Calls that this record stands for; absent: one. */
  readonly count?: number | undefined;
};

/** Stands for all names that no server offers, since callers may invent any number of them. */
const unknownName = "(unknown)";

/** Methods that name a thing from the list of a server, so that there are only so many names. */
const listed: ReadonlySet<string> = new Set([
  "tools/call",
  "prompts/get",
  "tasks/get",
  "tasks/update",
  "tasks/cancel",
  "subscriptions/listen",
]);

/** The outcome of a task, which its server told to whoever listens: nobody called, but what was told has a length. */
const isTold = ({ method, tool }: Ended): boolean => method === "subscriptions/listen" && tool !== undefined;

/** How many calls a record that ends some stands for. */
export const callsOf = (record: Ended): number => (isTold(record) ? 0 : (record.count ?? 1));

/** What a call is counted under; one name where callers choose it, as they do with URIs and methods of extensions. */
function nameOf({ method = "tools/call", srv = "", tool, code }: Ended): string {
  // Of those that were only counted, the name is not kept.
  if (srv === "") return tool === undefined && !unknownThings.has(code) ? "" : unknownName;
  if (listed.has(method)) return tool ?? "";
  if (method === "completion/complete") return "(completion)";
  return method.startsWith("resources/") ? "(resource)" : "(extension)";
}

/** A row without the names of what is there, but hidden from who reads it. */
export const unnamed = (row: UsageRow): UsageRow => ({ ...row, server: "", tool: unknownName });

/** Adds up usage per consumer, server, tool and hour. */
export type Counters = {
  /** `at` is epoch µs. */
  add(record: Ended, at: number): void;
  rows(): UsageRow[];
};

const ends: ReadonlySet<string> = new Set(["call.end", "call.refused", "call.lost", "auth.failed"]);
const errors = new Set(statusesOf("error"));

/** Counters that all stand at nothing. */
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

/** What is counted of calls. */
export type Sums = Pick<UsageRow, "calls" | "errors" | "denied" | "latencySumUs" | "bytesIn" | "bytesOut">;

/** Sums of no calls. */
export const nothing: Sums = { calls: 0, errors: 0, denied: 0, latencySumUs: 0, bytesIn: 0, bytesOut: 0 };

/** What is counted of two groups of calls together. */
export const sumOf = (a: Sums, b: Sums): Sums => ({
  calls: a.calls + b.calls,
  errors: a.errors + b.errors,
  denied: a.denied + b.denied,
  latencySumUs: a.latencySumUs + b.latencySumUs,
  bytesIn: a.bytesIn + b.bytesIn,
  bytesOut: a.bytesOut + b.bytesOut,
});
