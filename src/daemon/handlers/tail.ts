import type { Parsed } from "../../control/api.ts";
import type { Context, Gap } from "../../control/contract.ts";
import type { AuditEntry } from "../../control/schemas.ts";
import type { AuditBroker } from "../../audit/broker.ts";
import { leftOutTypes } from "../../core/event.ts";
import { statusesOf } from "../../core/failure.ts";
import { canonicalName } from "../../core/name.ts";
import { within } from "../../core/wait.ts";
import type { Archive } from "../archive.ts";
import { actorOf } from "./act.ts";
import { entryOf } from "./entry.ts";
import { askedInTurn, pages, records } from "./records.ts";

type Selection = Parsed<"tail">;

/**
 * Records since `since` or after record `after`, then further ones as they become durable, and how many of these came
 * too fast for the reader. Begin records of calls are left out.
 */
export async function* tail(
  audit: AuditBroker,
  archive: Archive,
  selection: Selection,
  ctx: Context,
): AsyncGenerator<AuditEntry | Gap> {
  const { signal } = ctx;
  // Begins before the past is read, so that no record falls between the two.
  using live = audit.follow(actorOf(ctx), signal);
  const { after } = selection;
  const since = after === undefined ? selection.since : undefined;
  let seen = since === undefined ? Math.min(after ?? Infinity, audit.durable()) : 0;
  // Records that are committed but not durable yet are not published to a new follower: they belong to the past.
  // A reader can leave even while the disk hangs.
  await within(audit.flush(), null, signal, () => {});
  try {
    for await (const row of past(audit.chain, askedInTurn(archive, ctx), since, seen)) {
      if (signal.aborted || row.seq > audit.durable()) break;
      seen = row.seq;
      yield* selected(selection, entryOf(audit.chain, row.seq, row.rec));
    }
  } catch (error) {
    // Whoever leaves gets no further turn.
    if (signal.aborted) return;
    throw error;
  }
  // The newest record that the feed has sent or left out.
  let reached = 0;
  for await (const value of live) {
    reached = "gap" in value ? reached + value.gap : value.seq;
    if (reached <= seen) continue;
    // Some of those that the feed left out may have been read from disk.
    if ("gap" in value) yield { gap: Math.min(value.gap, reached - seen) };
    else yield* selected(selection, entryOf(audit.chain, value.seq, value.rec));
  }
}

/** Records since a time, or where none is given those after `seen`. */
async function* past(chain: string, archive: Archive, since: number | undefined, seen: number) {
  if (since === undefined) for await (const page of pages(archive, chain, seen + 1, Infinity)) yield* page;
  else for await (const { row } of records(archive, chain, { since }, Infinity)) yield row;
}

function selected({ consumer, server, tool, status }: Selection, entry: AuditEntry): AuditEntry[] {
  if (leftOutTypes.includes(entry.type)) return [];
  if (consumer !== undefined && entry.consumer !== consumer) return [];
  if (server !== undefined && entry.server !== server) return [];
  if (tool !== undefined && entry.tool !== tool && nameOf(entry) !== tool) return [];
  return status === undefined || (entry.status !== null && statusesOf(status).includes(entry.status)) ? [entry] : [];
}

const nameOf = ({ server, tool }: AuditEntry): string | null =>
  server === null || tool === null ? null : canonicalName(server, tool);
