import { Withdrawn } from "../core/cancel.ts";
import type { Call } from "../core/call.ts";
import { failureFrom } from "../core/failure.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { handle } from "../gateway/handle.ts";
import type { Inbound } from "../core/inbound.ts";
import { cancelledIn, paramText } from "../mcp/message.ts";
import type { ClientCalls } from "../session/calls.ts";
import type { Session } from "../session/session.ts";
import type { Traffic } from "../session/traffic.ts";
import type { Received } from "./receive.ts";
import { answerText } from "./reply.ts";
import type { Running } from "./running.ts";

type CallContext = {
  readonly running: Running;
  readonly traffic: Traffic;
  /** The running calls on a client's own connection that belong to no session. */
  readonly outside?: ClientCalls;
};

/**
 * Runs a call through `handle`, then acts on the client's answer, progress or cancellation if the message is one. The
 * call is registered in its session or in `outside` while it runs. Resolves to its `answerText`; never throws: an error
 * becomes the call's failure.
 */
export async function runCall(
  gw: Gateway,
  call: Call,
  session: Session | null,
  context: CallContext,
): Promise<string | null> {
  const { inbound, controller } = call;
  const { kind, idText } = inbound;
  const isRequest = kind === "request" && idText !== null;
  const calls = isRequest ? (session?.calls ?? context.outside) : undefined;
  const node = isRequest && calls?.began(idText, controller);
  try {
    await handle(gw, call);
    heed(call, session, context);
    return answerText(call, gw.identity);
  } catch (error) {
    call.reply = null;
    call.failure = failureFrom(error, gw.log);
    return answerText(call, gw.identity);
  } finally {
    context.running.delete(controller);
    if (node) calls?.finished(node);
  }
}

/** Acts on a client's answer, progress or cancellation. */
function heed(call: Call, session: Session | null, { traffic, outside }: CallContext): void {
  const { inbound } = call;
  const { kind, answer, answersTo } = inbound;
  // A refused message still ends the questions that it answers; any other failure keeps the answer from them.
  const unreadable = kind === "request" ? call.fault : null;
  if (answer) {
    if (call.failure !== unreadable) return;
    const ended = answersTo.filter((id) => session?.questions.answer(id, answer));
    if (ended.length === 0) traffic.stray++;
    return;
  }
  if (kind === "request" || call.failure) return;
  if (inbound.method === "notifications/progress") report(session, inbound);
  else if (inbound.method === "notifications/cancelled") {
    const id = cancelledIn(inbound.text) ?? "";
    const why = new Withdrawn(inbound.params.reason);
    // A call may have begun before its client opened the session.
    if (!session?.calls.cancel(id, why)) outside?.cancel(id, why);
  }
}

/** Lets the client cancel each request of a batch even before it begins; refused requests never begin. */
export function announce(batch: readonly Received[], session: Session | null): void {
  for (const { inbound, fault } of batch) {
    if (!fault && inbound.kind === "request" && inbound.idText !== null) session?.calls.expect(inbound.idText);
  }
}

/** Forwards the client's progress on a question that it was asked in its session. */
function report(session: Session | null, inbound: Inbound): void {
  const token = paramText(inbound, "progressToken");
  const { params } = inbound.spans;
  if (token !== null && params) session?.questions.progress(token, inbound.text.slice(...params));
}
