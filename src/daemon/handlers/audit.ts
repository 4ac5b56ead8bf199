import type { Answer, Parsed } from "../../control/api.ts";
import type { Handlers } from "../../control/contract.ts";
import { Refusal } from "../../control/refusal.ts";
import type { AuditEntry } from "../../control/schemas.ts";
import { exportLine } from "../../audit/export.ts";
import { readRecord, type Recorded } from "../../audit/record.ts";
import { faultIn } from "../../audit/verify.ts";
import { subjectIn, valueOf } from "../../audit/subject.ts";
import { messageOf } from "../../core/error-text.ts";
import type { AuditRow, FoundRow } from "../../core/store.ts";
import { inTurns } from "../../core/turns.ts";
import type { Archive } from "../archive.ts";
import { actorOf } from "./act.ts";
import { entryOf } from "./entry.ts";
import { queuedArchive, endOf, queueLookup, partly, stretch } from "./records.ts";
import { queueCount, statsOf } from "./stats.ts";

type Names = `audit.${"log" | "show" | "stats" | "export"}`;

/** Returns the operations that read records, for operators. `open` returns the archive, or throws if there is none. */
export function auditHandlers(open: () => Archive): Pick<Handlers, Names> {
  return {
    "audit.log": (input, ctx) => queueLookup(actorOf(ctx), ctx.signal, () => auditLog(open(), input)),
    "audit.stats": (input, ctx) => queueCount(actorOf(ctx), ctx.signal, () => statsOf(open(), input, null, ctx.signal)),
    async "audit.show"({ seq, chain, payloads }, ctx) {
      const archive = queuedArchive(open(), ctx);
      const row = await rowOf(archive, chain, seq);
      const record = readRecord(row.rec);
      const begin = await beginOf(archive, chain, record);
      const whole = async (of: AuditRow) => {
        const stored = payloads ? await archive.payloads(chain, of.seq) : null;
        const parts = stored && stored.map(({ part, body }) => ({ part, body }));
        return { rec: of.rec, payloads: parts, fault: faultIn(of, stored) };
      };
      const run = async () => ({
        entry: entryOf(chain, seq, row.rec),
        leaf: Buffer.from(row.leaf).toString("base64url"),
        ...(await whole(row)),
        begin: begin && { seq: begin.seq, ...(await whole(begin)) },
        source: payloads ? await sourceOf(archive, chain, record.src ?? begin?.src) : null,
      });
      return { facts: { chain, seq, ...(begin && { begin: begin.seq }) }, run };
    },
    "audit.export"({ chain, payloads, ...period }, ctx) {
      const { signal } = ctx;
      const archive = queuedArchive(open(), ctx);
      const chains = chain === undefined ? archive.chains() : [known(archive, chain)];
      const lines = async function* (name: string) {
        for await (const row of stretch(archive, name, period, await endOf(archive, name))) {
          if (signal.aborted) return;
          yield exportLine(name, row, payloads ? await archive.payloads(name, row.seq) : null);
        }
      };
      const run = async function* () {
        for (const name of chains) {
          if (signal.aborted) return;
          try {
            yield* lines(name);
          } catch (error) {
            if (signal.aborted) return;
            throw unreadable(error, name, chains.length > 1 ? "; use --chain to export another chain" : "");
          }
        }
      };
      return { facts: { chains: chains.join(",") }, run };
    },
  };
}

type Begin = AuditRow & { readonly src: string | undefined };

/** Returns the record of a call's start; null if the record does not end a call. */
async function beginOf(archive: Archive, chain: string, { ref, call }: Recorded): Promise<Begin | null> {
  if (ref === undefined) return null;
  const [row] = await archive.page(chain, ref, 1);
  const begun = row?.seq === ref ? readRecord(row.rec) : null;
  return row && begun && begun.call === call ? { ...row, src: begun.src } : null;
}

/** Returns the real source address of a record that stores a pseudonym; null if the record has the address itself. */
async function sourceOf(
  archive: Archive,
  chain: string,
  src: string | undefined,
): Promise<Answer<"audit.show">["source"]> {
  const id = subjectIn(src);
  if (src === undefined || id === null) return null;
  return { src, address: valueOf(await archive.subject(chain, id)) };
}

/** Maximum number of records to scan for one answer; older ones are not reported. */
const maxScanned = 5_000;

/**
 * Returns audit records newest first, mapped or dropped by `told`. Looks up one more than the limit to know whether
 * there are more; dropped records do not count toward the limit.
 */
export async function auditLog(
  archive: Archive,
  input: Parsed<"audit.log">,
  told: (entry: AuditEntry) => AuditEntry[] = (entry) => [entry],
): Promise<Answer<"audit.log">> {
  const { limit } = input;
  const most = Math.max(limit + 1, maxScanned);
  for (let asked = limit + 1; ; asked = Math.min(4 * asked, most)) {
    const { rows, unread } = await archive.find({ ...input, limit: asked });
    const records = await inTurns(entriesOf(rows, told));
    if (records.length > limit || rows.length < asked || asked === most)
      return { records: records.slice(0, limit), more: records.length > limit, ...partly(unread) };
  }
}

function* entriesOf(
  rows: readonly FoundRow[],
  told: (entry: AuditEntry) => AuditEntry[],
): Generator<void, AuditEntry[]> {
  const entries: AuditEntry[] = [];
  for (const { chain, row } of rows) {
    entries.push(...told(entryOf(chain, row.seq, row.rec)));
    yield;
  }
  return entries;
}

async function rowOf(archive: Archive, chain: string, seq: number): Promise<AuditRow> {
  known(archive, chain);
  const [row] = await Promise.try(() => archive.page(chain, seq, 1)).catch((error: unknown) => {
    throw unreadable(error, chain);
  });
  if (row?.seq === seq) return row;
  throw new Refusal("not-found", `chain ${chain} has no record ${seq}`);
}

function known(archive: Archive, chain: string): string {
  const chains = archive.chains();
  if (chains.includes(chain)) return chain;
  throw new Refusal("not-found", `there is no chain ${chain}; existing chains: ${chains.join(", ") || "none yet"}`);
}

/** Returns the refusal for a chain that cannot be read: it is damaged, or another process keeps it locked. */
function unreadable(error: unknown, chain: string, instead = ""): Refusal {
  if (error instanceof Refusal) return error;
  const todo = `if this persists, run \`mcpgw audit verify\`${instead}`;
  return new Refusal("unavailable", `chain ${chain} cannot be read (${messageOf(error)}); ${todo}`);
}
