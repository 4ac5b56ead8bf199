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
  /** The running calls of a client with its own connection that belong to no session. */
  readonly outside?: ClientCalls;
};

/**
 * Takes a call through `handle`. Afterwards matches a client's answer, or its progress, to the question, or cancels the
 * call that the client cancelled. The call is registered in its session, or in `outside`. Resolves to its `answerText`;
 * never throws: what fails here is the call's failure.
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

/** Does what an answer or a notification of the client is for. */
function heed(call: Call, session: Session | null, { traffic, outside }: CallContext): void {
  const { inbound } = call;
  const { kind, answer, answersTo } = inbound;
  // Of an answer that can be read, every failure keeps it from its question.
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

/**
 * Lets the client cancel each request of its batch at once, also those that begin later; what is refused never begins.
 */
export function announce(batch: readonly Received[], session: Session | null): void {
  for (const { inbound, fault } of batch) {
    if (!fault && inbound.kind === "request" && inbound.idText !== null) session?.calls.expect(inbound.idText);
  }
}

/** Passes on the client's progress with a question that it was asked in its session. */
function report(session: Session | null, inbound: Inbound): void {
  const token = paramText(inbound, "progressToken");
  const { params } = inbound.spans;
  if (token !== null && params) session?.questions.progress(token, inbound.text.slice(...params));
}
