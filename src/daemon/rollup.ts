import { readRecord, type Recorded, serverOf } from "../audit/record.ts";
import { omittedTypes } from "../core/event.ts";
import type { AuditReader, AuditRow, UsageStore } from "../core/store.ts";
import { timeOf } from "../core/time-text.ts";
import type { IndexEntry, IndexWriter } from "../store/sqlite/index-writer.ts";
import { createCounters } from "../usage/counters.ts";

/** The targets of the rollup; null if that rollup is off. */
export type Rollups = { readonly usage: UsageCounts | null; readonly index: IndexWriter | null };
export type UsageCounts = Pick<UsageStore, "usageMark" | "apply">;

const pageRows = 2000;

/**
 * Counts and indexes the next page of a chain's records, up to `upto`, and reports whether there are more. Each rollup
 * moves its own mark in the same transaction, so a crash neither repeats nor skips a record.
 */
export function rollUpPage(reader: AuditReader, chain: string, upto: number, { usage, index }: Rollups): boolean {
  const counted = usage ? usage.usageMark(chain) : upto;
  const indexed = index ? indexMark(reader, chain, index) : upto;
  const from = Math.min(counted, indexed);
  if (from >= upto) return false;
  const rows = reader.page(chain, from + 1, Math.min(pageRows, upto - from));
  const last = rows.at(-1);
  if (!last) return false;
  const ended = rows.filter(isOutcome).map((row) => ({ row, record: readRecord(row.rec) }));
  if (usage && last.seq > counted) usage.apply(chain, counted, last.seq, countersOf(ended, counted));
  if (index && last.seq > indexed) {
    const entries = ended.filter(({ row }) => row.seq > indexed).map(({ row, record }) => entryOf(row.seq, record));
    index.add(chain, last, entries);
  }
  return last.seq < upto;
}

type Outcome = { readonly row: AuditRow; readonly record: Recorded };

const leftOut = omittedTypes.map((type) => `"type":"${type}"`);

const isOutcome = ({ rec }: AuditRow): boolean => !leftOut.some((member) => rec.includes(member));

function countersOf(outcomes: readonly Outcome[], after: number) {
  const counters = createCounters();
  for (const { row, record } of outcomes) {
    // A record without a consumer is not usage.
    if (row.seq > after && record.consumer !== undefined) counters.add(record, timeOf(record.t));
  }
  return counters.rows();
}

function entryOf(seq: number, record: Recorded): IndexEntry {
  const { consumer = null, tool = null, st = null, type, t } = record;
  return { seq, consumer, srv: serverOf(record), tool, st, type, at: timeOf(t) };
}

/** Returns the last indexed record. An index built from another chain of this name is discarded. */
function indexMark(reader: AuditReader, chain: string, index: IndexWriter): number {
  const mark = index.mark(chain);
  if (!mark) return 0;
  const [row] = reader.page(chain, mark.seq, 1);
  if (row && row.seq === mark.seq && Buffer.compare(row.leaf, mark.leaf) === 0) return mark.seq;
  index.forget(chain);
  return 0;
}
