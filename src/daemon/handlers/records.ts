import { readRecord, type Recorded } from "../../audit/record.ts";
import type { AuditRow } from "../../core/store.ts";
import { timeOf } from "../../core/time-text.ts";
import { Turn } from "../../core/turns.ts";
import type { Context } from "../../control/contract.ts";
import type { Archive } from "../archive.ts";
import { actorOf } from "./act.ts";
import { createTurnQueue } from "./one-at-a-time.ts";

/** Kept small, since each stream with a slow reader holds a page in memory. */
const pageSize = 200;

/** Queue for lookups. The thread that serves calls parses and formats up to thousands of records per answer. */
export const queueLookup = createTurnQueue();

/**
 * Returns an archive whose every read waits for its turn. Only the read holds the turn, not the processing of its
 * result, which may be streamed to a slow reader.
 */
export function queuedArchive(archive: Archive, ctx: Context): Archive {
  const waiting =
    <A extends readonly unknown[], T>(ask: (...args: A) => Promise<T> | T) =>
    (...args: A): Promise<T> =>
      queueLookup(actorOf(ctx), ctx.signal, async () => ask(...args));
  return {
    ...archive,
    page: waiting(archive.page),
    last: waiting(archive.last),
    payloads: waiting(archive.payloads),
    subject: waiting(archive.subject),
  };
}

export type Period = { readonly since?: number | undefined; readonly until?: number | undefined };

type Selected = { readonly row: AuditRow; readonly record: Recorded };

/** Yields the records of a chain up to `upto` in a period (epoch µs), oldest first, reading a page at a time. */
export async function* records(
  archive: Archive,
  chain: string,
  { since = 0, until = Infinity }: Period,
  upto: number,
): AsyncGenerator<Selected> {
  const turn = new Turn();
  for await (const page of pages(archive, chain, 1, upto)) {
    for (const row of page) {
      turn.begin();
      const record = readRecord(row.rec);
      const at = timeOf(record.t);
      if (at >= since && at <= until) yield { row, record };
      if (turn.over()) await turn.next();
    }
  }
}

/**
 * Yields the records of a period, and any records between them with a time outside it, such as after a clock change or
 * an outage. Without those, the log would look as if records had been removed.
 */
export async function* stretch(
  archive: Archive,
  chain: string,
  period: Period,
  upto: number,
): AsyncGenerator<AuditRow> {
  let next = Infinity;
  for await (const { row } of records(archive, chain, period, upto)) {
    for await (const page of pages(archive, chain, next, row.seq - 1)) yield* page.filter(({ seq }) => seq < row.seq);
    yield row;
    next = row.seq + 1;
  }
}

/** Returns the answer's member that names the chains with missing records, if there are any. */
export const partly = (unread: readonly string[]): { unread?: readonly string[] } =>
  unread.length > 0 ? { unread } : {};

/**
 * Returns the newest record of a chain, so that reading ends however fast the log grows; Infinity if it cannot be read,
 * so that earlier records are still read before the error is reported.
 */
export async function endOf(archive: Archive, chain: string): Promise<number> {
  try {
    return (await archive.last(chain))?.seq ?? 0;
  } catch {
    return Infinity;
  }
}

/** Yields the records of a chain from `from` to `upto` in pages, including records added while reading. */
export async function* pages(archive: Archive, chain: string, from: number, upto: number): AsyncGenerator<AuditRow[]> {
  for (let next = from; next <= upto;) {
    const page = await archive.page(chain, next, Math.min(pageSize, upto - next + 1));
    const last = page.at(-1);
    if (!last) return;
    yield page;
    next = last.seq + 1;
  }
}
