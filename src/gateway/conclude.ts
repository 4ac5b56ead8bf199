import type { Call } from "../core/call.ts";
import { asFailure, type Failure, failureFrom } from "../core/failure.ts";
import type { Gateway } from "./gateway.ts";
import { withRights } from "./revocation.ts";

/** Whether the log took no begin in time, so that the call was not made: whoever may repeat it has to be told that. */
const isUnmade = ({ failure }: Call): boolean => failure?.code === "audit-unavailable" && failure.detail.ran === "no";

/**
 * Counts every ending. The ending of a governed call, and every refusal, is recorded before the reply may leave. Never
 * throws: what fails here is the call's failure.
 */
export async function conclude(gw: Gateway, call: Call): Promise<void> {
  if (call.whole) return;
  call.took = gw.clock.mono() - call.started;
  try {
    await record(gw, call);
    tell(gw, call);
    gw.metrics.count(call);
  } catch (error) {
    call.reply = null;
    call.failure = failureFrom(error, gw.log);
  }
}

async function record(gw: Gateway, call: Call): Promise<void> {
  try {
    const recorded = gw.audit.end(call);
    // The log already failed at `begin`. The refusal is still offered to it, but the caller does not wait a second
    // time.
    if (call.failure?.code === "audit-unavailable" && !call.begun) recorded.catch(() => {});
    else await recorded;
    // Recording takes its time, in which the caller may lose its rights.
    if (call.reply) withRights(call, call.reply);
  } catch (error) {
    call.reply = null;
    if (!isUnmade(call)) call.failure = asFailure(error);
  }
}

/** Tells operators of a failure that is for them. */
function tell({ log }: Gateway, { id, failure, route }: Call): void {
  // Whose credential is refused may be anybody: the audit logs that once per source.
  if (failure?.detail.internal && failure.row.status !== "auth-failed") {
    const { code, detail } = failure;
    const server = route?.server ?? null;
    log.error("request failed", { call: id, code, server, cause: detail.internal }, `${code} ${server}`);
  }
}

/**
 * Refuses a request before `handle`, but records and counts it in the same way. Resolves with what its sender may be
 * told: another failure, if the refusal could not be recorded.
 */
export async function refuse(gw: Gateway, call: Call, failure: Failure): Promise<Failure> {
  call.failure = failure;
  await conclude(gw, call);
  return call.failure;
}
