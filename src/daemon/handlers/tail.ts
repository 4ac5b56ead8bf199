import type { Parsed } from "../../control/api.ts";
import type { Context, Gap } from "../../control/contract.ts";
import type { AuditEntry } from "../../control/schemas.ts";
import type { AuditBroker } from "../../audit/broker.ts";
import { omittedTypes } from "../../core/event.ts";
import { statusesOf } from "../../core/failure.ts";
import { canonicalName } from "../../core/name.ts";
import { within } from "../../core/wait.ts";
import type { Archive } from "../archive.ts";
import { actorOf } from "./act.ts";
import { entryOf } from "./entry.ts";
import { queuedArchive, pages, records } from "./records.ts";

type Selection = Parsed<"tail">;

/**
 * Yields records since `since` or after record `after`, then new ones as they become durable, and gaps that count the
 * records that came too fast for the reader. Begin records of calls are left out.
 */
export async function* tail(
  audit: AuditBroker,
  archive: Archive,
  selection: Selection,
  ctx: Context,
): AsyncGenerator<AuditEntry | Gap> {
  const { signal } = ctx;
  // Follows before the past is read, so that no record is missed in between.
  using live = audit.follow(actorOf(ctx), signal);
  const { after } = selection;
  const since = after === undefined ? selection.since : undefined;
  let seen = since === undefined ? Math.min(after ?? Infinity, audit.durable()) : 0;
  // Records committed but not yet durable are not published to a new follower, so they are read as the past.
  // A reader can leave even while the disk hangs.
  await within(audit.flush(), null, signal, () => {});
  try {
    for await (const row of past(audit.chain, queuedArchive(archive, ctx), since, seen)) {
      if (signal.aborted || row.seq > audit.durable()) break;
      seen = row.seq;
      yield* selected(selection, entryOf(audit.chain, row.seq, row.rec));
    }
  } catch (error) {
    // A reader that has left gets no further turn, which is not an error.
    if (signal.aborted) return;
    throw error;
  }
  // The newest record that the live feed has sent or skipped.
  let reached = 0;
  for await (const value of live) {
    reached = "gap" in value ? reached + value.gap : value.seq;
    if (reached <= seen) continue;
    // Some of the skipped records may already have been read from disk.
    if ("gap" in value) yield { gap: Math.min(value.gap, reached - seen) };
    else yield* selected(selection, entryOf(audit.chain, value.seq, value.rec));
  }
}

/** Yields stored records since a time, or after `seen` if no time is given. */
async function* past(chain: string, archive: Archive, since: number | undefined, seen: number) {
  if (since === undefined) for await (const page of pages(archive, chain, seen + 1, Infinity)) yield* page;
  else for await (const { row } of records(archive, chain, { since }, Infinity)) yield row;
}

function selected({ consumer, server, tool, status }: Selection, entry: AuditEntry): AuditEntry[] {
  if (omittedTypes.includes(entry.type)) return [];
  if (consumer !== undefined && entry.consumer !== consumer) return [];
  if (server !== undefined && entry.server !== server) return [];
  if (tool !== undefined && entry.tool !== tool && nameOf(entry) !== tool) return [];
  return status === undefined || (entry.status !== null && statusesOf(status).includes(entry.status)) ? [entry] : [];
}

const nameOf = ({ server, tool }: AuditEntry): string | null =>
  server === null || tool === null ? null : canonicalName(server, tool);
