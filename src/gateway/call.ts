import { Call, type CallInit } from "../core/call.ts";
import type { Presented } from "../core/ports.ts";
import type { Gateway } from "./gateway.ts";

/** The parts of a call that depend on its transport. Without `started` the call starts now. */
type Carrier = Pick<CallInit, "controller" | "session" | "scope" | "emit"> &
  Partial<Pick<CallInit, "started" | "ask" | "open">>;

/** Creates the call of a message from any transport. */
export function callOf(
  gw: Gateway,
  { inbound, fault }: Pick<CallInit, "inbound" | "fault">,
  { source, credentials, vouched }: Presented,
  { controller, started = gw.clock.mono(), session, scope, emit, ask = null, open = null }: Carrier,
): Call {
  return new Call({
    id: gw.nextId(),
    at: gw.clock.now(),
    started,
    inbound,
    fault,
    source,
    credentials,
    vouched,
    controller,
    session,
    scope,
    emit,
    ask,
    open,
  });
}
