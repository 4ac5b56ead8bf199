import { Withdrawn } from "../core/cancel.ts";
import type { Call } from "../core/call.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { handle } from "../gateway/handle.ts";
import { cancelledIn } from "../mcp/message.ts";
import type { ClientCalls } from "../session/calls.ts";
import type { Session } from "../session/session.ts";
import type { Traffic } from "../session/traffic.ts";
import type { Running } from "./running.ts";

/** The shared parts of the process that a call touches. */
type Surroundings = { readonly running: Running; readonly traffic: Traffic };

/**
 * Takes a call through `handle`. Afterwards matches a client's answer to its question, or cancels the call that the
 * client cancelled. The call is registered in `calls`, by default in its session. Never throws.
 */
export async function walk(
  gw: Gateway,
  call: Call,
  session: Session | null,
  { running, traffic }: Surroundings,
  calls: Pick<ClientCalls, "began" | "finished" | "cancel"> | null = session,
): Promise<void> {
  const { inbound, controller } = call;
  const { kind, idText, answer } = inbound;
  const place = calls && kind === "request" && idText !== null ? calls.began(idText, controller) : null;
  await handle(gw, call);
  running.delete(controller);
  if (place) calls?.finished(place);
  if (kind === "request" || call.failure) return;
  if (answer && session) session.answered(idText, answer);
  else if (answer) traffic.stray++;
  else if (inbound.method === "notifications/cancelled") {
    calls?.cancel(cancelledIn(inbound.text) ?? "", new Withdrawn(inbound.params.reason));
  }
}
