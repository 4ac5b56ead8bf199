import { readRecord, type Recorded, serverOf } from "../../audit/record.ts";
import type { AuditEntry } from "../../control/schemas.ts";
import { timeOf } from "../../core/time-text.ts";

/** Returns a stored record in the form that operators see. */
export function entryOf(chain: string, seq: number, rec: string): AuditEntry {
  const record = readRecord(rec);
  const { type, call, consumer, method, tool, st, us, rule, reason, code, count, cause } = record;
  return {
    chain,
    seq,
    at: timeOf(record.t),
    type,
    call: call ?? null,
    caller: callerText(record),
    consumer: consumer ?? null,
    // Empty if the message could not be parsed.
    method: method || null,
    server: serverOf(record),
    tool: tool ?? null,
    status: st ?? null,
    us: us ?? null,
    rule: rule ?? null,
    reason: reason ?? null,
    facts: {
      ...record.facts,
      ...(code === undefined ? {} : { code }),
      ...(count === undefined ? {} : { count }),
      // Not for calls: callers may read their own records, but must not see the cause.
      ...(cause === undefined || type !== "auth.failed" ? {} : { cause }),
    },
  };
}

/**
 * Returns the principal of a record. For a call made with a key, records after the first name only the key id. A key id
 * has no colon and is never `anonymous`; the ids of all other principals have a colon or are `anonymous`.
 */
function callerText({ type, caller, subj }: Recorded): string | null {
  if (subj !== undefined || caller === undefined) return subj ?? null;
  const isKey = type.startsWith("call.") && !caller.includes(":") && caller !== "anonymous";
  return isKey ? `key:${caller}` : caller;
}
