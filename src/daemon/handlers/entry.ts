import { readRecord, serverOf } from "../../audit/record.ts";
import type { AuditEntry } from "../../control/schemas.ts";
import { timeOf } from "../../core/time-text.ts";

/** A stored record as operators read it. */
export function entryOf(chain: string, seq: number, rec: string): AuditEntry {
  const record = readRecord(rec);
  const { type, call, caller, subj, consumer, tool, st, us, rule, reason } = record;
  return {
    chain,
    seq,
    at: timeOf(record.t),
    type,
    call: call ?? null,
    caller: subj ?? caller ?? null,
    consumer: consumer ?? null,
    server: serverOf(record),
    tool: tool ?? null,
    status: st ?? null,
    us: us ?? null,
    rule: rule ?? null,
    reason: reason ?? null,
    facts: {
      ...record.facts,
      ...(record.code === undefined ? {} : { code: record.code }),
      ...(record.count === undefined ? {} : { count: record.count }),
    },
  };
}
