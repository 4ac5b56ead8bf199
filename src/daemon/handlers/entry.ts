import { readRecord, type Recorded, serverOf } from "../../audit/record.ts";
import type { AuditEntry } from "../../control/schemas.ts";
import { timeOf } from "../../core/time-text.ts";

/** A stored record as operators read it. */
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
    // It is empty where the message could not be read.
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
      // Of calls it is not for callers, who may read what is recorded of them.
      ...(cause === undefined || type !== "auth.failed" ? {} : { cause }),
    },
  };
}

/**
 * The principal who did it. Of a call that was made with a key, records that follow the first one name the key only; no
 * id of a key holds a colon, as those of all other principals do but `anonymous`, which no key may have.
 */
function callerText({ type, caller, subj }: Recorded): string | null {
  if (subj !== undefined || caller === undefined) return subj ?? null;
  const isKey = type.startsWith("call.") && !caller.includes(":") && caller !== "anonymous";
  return isKey ? `key:${caller}` : caller;
}
