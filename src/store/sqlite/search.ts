import type { Database, SQLQueryBindings } from "bun:sqlite";
import { statSync } from "node:fs";
import { orNull } from "../../core/attempt.ts";
import { omittedTypes } from "../../core/event.ts";
import { statusesOf } from "../../core/failure.ts";
import { splitCanonical } from "../../core/name.ts";
import type { AuditQuery, AuditRow, Found, FoundRow, StoreFailed } from "../../core/store.ts";
import { timeText } from "../../core/time-text.ts";
import { isDamage, openReadable, withPath } from "./database.ts";
import { version } from "./migrate.ts";
import { indexSchema } from "./schema.ts";

/** A condition with the values of its question marks. */
type Term = readonly [string, ...SQLQueryBindings[]];
type Where = { readonly sql: string; readonly values: readonly SQLQueryBindings[] };

const defaultLimit = 100;
/** Number of records read in one snapshot, so that a long scan holds no snapshot for long. */
const pageSize = 20_000;
const hit = "SELECT seq, rec, leaf FROM record WHERE";
/** The server of a record, as in `serverOf`. Not a column of the view, since a chain keeps its original view. */
const told = "coalesce(srv, rec->>'$.facts.server')";

/** Finds records of chains, newest first: by the index as far as it reaches, and beyond it by reading each record. */
export type Search = { find(chains: readonly string[], query: AuditQuery): Found; close(): void };

/** Called when the index is found damaged, which slows down every query that could have used it. */
export type Damaged = (error: StoreFailed) => void;

/** The open index; `ask` returns null if anything is wrong with it. */
type Index = { ask<T>(work: (index: Database) => T): T | null; close(): void };

/** `within` runs work on an open chain. If the index is missing, behind or wrong, each record is read. */
export function createSearch(
  indexPath: string,
  within: <T>(chain: string, work: (db: Database) => T) => T,
  damaged: Damaged = () => {},
): Search {
  let index: Index | null = null;
  let opened = 0;
  const openIndex = (): Index | null => {
    const inode = statSync(indexPath, { throwIfNoEntry: false })?.ino ?? 0;
    // A damaged index is deleted and rebuilt, so the file may be another one now.
    if (inode !== opened) {
      index?.close();
      index = null;
    }
    if (!index && inode !== 0) index = indexAt(indexPath, damaged);
    opened = inode;
    return index;
  };

  return {
    find(chains, query) {
      const asked = { ...query, limit: query.limit ?? defaultLimit };
      const found: FoundRow[][] = [];
      const failed = new Map<string, unknown>();
      for (const chain of chains) {
        try {
          const rows = within(chain, (db) => findInChain({ chain, db, index: openIndex() }, asked));
          found.push(rows.map((row) => ({ chain, row })));
        } catch (error) {
          failed.set(chain, error);
        }
      }
      if (failed.size > 0 && found.length === 0) throw failed.values().next().value;
      return { rows: mergeByTime(found).slice(0, asked.limit), unread: [...failed.keys()] };
    },
    close: () => index?.close(),
  };
}

/** Opens the index; null if it cannot be used, since the index is disposable and any fault in it only costs time. */
function indexAt(path: string, damaged: Damaged): Index | null {
  const db = orNull(() => openCurrent(path));
  if (!db) return null;
  const ask: Index["ask"] = (work) => {
    try {
      return withPath(path, () => work(db));
    } catch (error) {
      if (isDamage(error)) damaged(error);
      return null;
    }
  };
  return { ask, close: () => db.close() };
}

/** Opens an index of the current version; null for any other version, whose columns may mean something else. */
function openCurrent(path: string): Database | null {
  const db = openReadable(path, 0);
  if (orNull(() => version(db, indexSchema, path)) === indexSchema.length) return db;
  db.close(true);
  return null;
}

type Searched = { readonly chain: string; readonly db: Database; readonly index: Index | null };
type Limited = AuditQuery & { readonly limit: number };

function findInChain({ chain, db, index }: Searched, query: Limited): AuditRow[] {
  const { limit } = query;
  const where = allOf([typeTerm(query.type), ...termsOf(query, { srv: told, t: "t" }, timeText)]);
  const indexed = index && usable(query) ? markOf(db, index, chain) : 0;
  const rows = scan(db, where, indexed, limit);
  if (!index || indexed === 0 || rows.length >= limit) return rows;
  const rest = { ...query, limit: limit - rows.length };
  const seqs = index.ask((entries) => lookUp(entries, chain, rest, indexed));
  if (!seqs) return scan(db, where, 0, limit);
  const one = db.query<AuditRow, SQLQueryBindings[]>(`${hit} seq = ? AND ${where.sql}`);
  // The record itself is checked again, because the index proves nothing.
  return [...rows, ...seqs.flatMap((seq) => one.get(seq, ...where.values) ?? [])];
}

/** Reads records newest first, down to but excluding `floor`; a page at a time, so that no snapshot lasts long. */
function scan(db: Database, where: Where, floor: number, limit: number): AuditRow[] {
  const newest = db.query<{ seq: number | null }, []>("SELECT max(seq) AS seq FROM audit").get()?.seq ?? 0;
  const page = db.query<AuditRow, SQLQueryBindings[]>(
    `${hit} seq > ? AND seq <= ? AND ${where.sql} ORDER BY seq DESC LIMIT ?`,
  );
  const rows: AuditRow[] = [];
  for (let upto = newest; upto > floor && rows.length < limit; upto -= pageSize) {
    rows.push(...page.all(Math.max(upto - pageSize, floor), upto, ...where.values, limit - rows.length));
  }
  return rows;
}

/** Reports whether the index can answer a query; it holds no `omittedTypes`. */
function usable({ type }: AuditQuery): boolean {
  return type === undefined || (!type.endsWith("*") && !omittedTypes.includes(type));
}

/** Returns up to which record the index covers this very chain; 0 if it was built from another. */
function markOf(db: Database, index: Index, chain: string): number {
  type Mark = { seq: number; leaf: Uint8Array };
  const mark = index.ask((marks) =>
    marks.query<Mark, [string]>("SELECT seq, leaf FROM mark WHERE chain = ?").get(chain),
  );
  if (!mark) return 0;
  const select = "SELECT leaf FROM audit WHERE seq = ?";
  const row = orNull(() => db.query<{ leaf: Uint8Array }, [number]>(select).get(mark.seq));
  return row && Buffer.compare(row.leaf, mark.leaf) === 0 ? mark.seq : 0;
}

function lookUp(index: Database, chain: string, query: Limited, upto: number): number[] {
  const terms: Term[] = [
    ["chain = ? AND seq <= ?", chain, upto],
    ...termsOf(query, { srv: "srv", t: "at" }, (us) => us),
  ];
  if (query.type !== undefined) terms.push(["type = ?", query.type]);
  const { sql, values } = allOf(terms);
  return index
    .query<{ seq: number }, SQLQueryBindings[]>(`SELECT seq FROM entry WHERE ${sql} ORDER BY seq DESC LIMIT ?`)
    .all(...values, query.limit)
    .map(({ seq }) => seq);
}

const allOf = (terms: readonly Term[]): Where => ({
  sql: terms.map(([term]) => term).join(" AND "),
  values: terms.flatMap(([, ...values]) => values),
});

/** Returns a query's conditions except the type; `srv` and `t` name columns, `spell` formats a time for `t`. */
function termsOf(
  query: AuditQuery,
  { srv, t: time }: { readonly srv: string; readonly t: string },
  spell: (us: number) => string | number,
): Term[] {
  const { consumer, server, tool, since, until, status } = query;
  const terms: Term[] = [];
  for (const [column, value] of Object.entries({ consumer, [srv]: server })) {
    if (value !== undefined) terms.push([`${column} = ?`, value]);
  }
  if (tool !== undefined) {
    const of = splitCanonical(tool);
    terms.push(of ? [`(tool = ? OR (${srv} = ? AND tool = ?))`, tool, of.server, of.tool] : ["tool = ?", tool]);
  }
  if (since !== undefined) terms.push([`${time} >= ?`, spell(since)]);
  if (until !== undefined) terms.push([`${time} <= ?`, spell(until)]);
  if (status !== undefined) terms.push(statusTerm(status));
  return terms;
}

function statusTerm(word: string): Term {
  const statuses = statusesOf(word);
  // Written out so that the partial index over everything but `ok` applies.
  const rare = statuses.includes("ok") ? "" : " AND st <> 'ok'";
  return [`st IN (${statuses.map(() => "?").join(", ")})${rare}`, ...statuses];
}

function typeTerm(type: string | undefined): Term {
  if (type === undefined) return [`type NOT IN (${omittedTypes.map(() => "?").join(", ")})`, ...omittedTypes];
  if (!type.endsWith("*")) return ["type = ?", type];
  const start = type.slice(0, -1);
  return ["substr(type, 1, ?) = ?", start.length, start];
}

/** Merges records newest first across chains; within a chain the sequence decides, whatever the clock did. */
function mergeByTime(chains: readonly (readonly FoundRow[])[]): FoundRow[] {
  const timed = chains.flatMap((found) => {
    let earliest = "~";
    return found.map((one) => {
      const own = timeIn(one.row);
      if (own < earliest) earliest = own;
      return { one, at: earliest };
    });
  });
  return timed.sort((a, b) => (a.at === b.at ? 0 : a.at > b.at ? -1 : 1)).map(({ one }) => one);
}

/** Returns `t` of a record. The last match is the right one: `facts`, which may also hold a `t`, comes earlier. */
function timeIn({ rec }: AuditRow): string {
  const start = rec.lastIndexOf('"t":"') + 5;
  return rec.slice(start, rec.indexOf('"', start));
}
