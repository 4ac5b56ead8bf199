import type { Call } from "../core/call.ts";
import { asFailure, type Failure, failureFrom } from "../core/failure.ts";
import type { Gateway } from "./gateway.ts";
import { withRights } from "./revocation.ts";

/** Whether the call did not run because its begin was not recorded in time. The caller must learn that it may retry. */
const didNotRun = ({ failure }: Call): boolean => failure?.code === "audit-unavailable" && failure.detail.ran === "no";

/**
 * Counts the end of a call, and records the end of a governed call and every refusal before the reply may leave. Never
 * throws: an error here becomes the call's failure.
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
    // The audit log already failed at `begin`. It still gets the refusal, but the caller does not wait a second time.
    if (call.failure?.code === "audit-unavailable" && !call.begun) recorded.catch(() => {});
    else await recorded;
    // The caller may lose its rights while the end is recorded.
    if (call.reply) withRights(call, call.reply);
  } catch (error) {
    call.reply = null;
    if (!didNotRun(call)) call.failure = asFailure(error);
  }
}

/** Logs a failure that concerns operators. */
function tell({ log }: Gateway, { id, failure, route }: Call): void {
  // Anyone can send a bad credential, so the audit log records that once per source instead.
  if (failure?.detail.internal && failure.row.status !== "auth-failed") {
    const { code, detail } = failure;
    const server = route?.server ?? null;
    log.error("request failed", { call: id, code, server, cause: detail.internal }, `${code} ${server}`);
  }
}

/**
 * Refuses a request before `handle`, and records and counts it in the same way. Resolves with the failure to report to
 * the sender, which is a different one if the refusal could not be recorded.
 */
export async function refuse(gw: Gateway, call: Call, failure: Failure): Promise<Failure> {
  call.failure = failure;
  await conclude(gw, call);
  return call.failure;
}
