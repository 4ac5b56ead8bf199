import { readRecord, type Recorded } from "../../audit/record.ts";
import type { AuditRow } from "../../core/store.ts";
import { timeOf } from "../../core/time-text.ts";
import { Turn } from "../../core/turns.ts";
import type { Context } from "../../control/contract.ts";
import type { Archive } from "../archive.ts";
import { actorOf } from "./act.ts";
import { oneAtATime } from "./one-at-a-time.ts";

/** Few: each stream whose reader is slow keeps a page in memory. */
const pageSize = 200;

/** Each answer may hold thousands of records, which the thread that serves calls reads and writes. */
export const lookInTurn = oneAtATime();

/**
 * An archive of which each question waits for its turn. What is made of an answer holds up nobody: that may be a stream
 * whose reader is slow.
 */
export function askedInTurn(archive: Archive, ctx: Context): Archive {
  const waiting =
    <A extends readonly unknown[], T>(ask: (...args: A) => Promise<T> | T) =>
    (...args: A): Promise<T> =>
      lookInTurn(actorOf(ctx), ctx.signal, async () => ask(...args));
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

/** Every record of a chain up to `upto` and between two times (epoch µs), oldest first, a page at a time. */
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
 * The records between two times, and those that stand between them but are of another time, as after the clock was set
 * or an outage: without these, the log would look as if they had been removed from it.
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

/** Names in an answer the chains of which it lacks records. */
export const partly = (unread: readonly string[]): { unread?: readonly string[] } =>
  unread.length > 0 ? { unread } : {};

/**
 * The newest record of a chain: what is read up to it comes to an end, however fast the log grows. Infinity where it
 * cannot be read: those before it are read all the same, and then it is told.
 */
export async function endOf(archive: Archive, chain: string): Promise<number> {
  try {
    return (await archive.last(chain))?.seq ?? 0;
  } catch {
    return Infinity;
  }
}

/** The records of a chain from `from` to `upto`, a page at a time, also those that are added meanwhile. */
export async function* pages(archive: Archive, chain: string, from: number, upto: number): AsyncGenerator<AuditRow[]> {
  for (let next = from; next <= upto;) {
    const page = await archive.page(chain, next, Math.min(pageSize, upto - next + 1));
    const last = page.at(-1);
    if (!last) return;
    yield page;
    next = last.seq + 1;
  }
}
