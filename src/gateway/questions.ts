import type { Call } from "../core/call.ts";
import type { AbortSignalLike } from "../core/cancel.ts";
import { asFailure, Failure, type FailureCode } from "../core/failure.ts";
import { answerTime, type ClientAnswer, type InputRequest } from "../core/inbound.ts";
import type { Principal } from "../core/principal.ts";
import { rpcCodes } from "../core/rpc-code.ts";
import { cut } from "../core/text.ts";
import { within } from "../core/wait.ts";
import { type Asked, forLegacyClient, forNextHop, outcomeOf, undeclared } from "../mcp/input-round.ts";
import { isObject } from "../mcp/message.ts";
import type { Gateway } from "./gateway.ts";

/** A call that has begun, and what is needed to ask its caller something. */
export type Job = { readonly gw: Gateway; readonly call: Call; readonly who: Principal; readonly server: string };

/**
 * Refuses a question that the caller's client did not declare or that a guardrail forbids by now, and records that.
 * Throws `input-undeclared` or `denied`.
 */
export async function admitQuestion({ gw, call, who, server }: Job, request: InputRequest): Promise<void> {
  const { revision } = call.inbound;
  const missing = undeclared(call.capabilities.value, request, revision ?? call.session?.revision ?? null);
  const { allowed, rule, reason } = gw.inForce().admitsInput(who, call.source, server, request.method);
  if (missing === null && allowed) return;
  await gw.audit.input(call, { request, outcome: "refused", answer: null, rule: allowed ? null : rule });
  if (missing !== null) {
    throw new Failure(
      "input-undeclared",
      `The server "${server}" asks for ${request.method}, but the client did not declare ${missing}.`,
    );
  }
  const why = rule === null ? reason : `by rule ${rule}: ${reason}`;
  const message = `The server "${server}" may not ask the client for ${request.method}; denied ${why}.`;
  throw new Failure("denied", message, rule === null ? {} : { rule });
}

/** Admits all questions of a round or none, and records that they leave for the caller. */
export async function admitAll(job: Job, asked: readonly Asked[]): Promise<void> {
  for (const { request } of asked) await admitQuestion(job, request);
  for (const { request } of asked) await recordAsked(job, request);
}

/** Records that a question leaves for the caller, before it does. */
export function recordAsked({ gw, call }: Job, request: InputRequest): Promise<void> {
  return gw.audit.input(call, { request, outcome: "asked", answer: null, rule: null });
}

/** Records what the caller answered, before it is passed on. */
export function recordAnswer({ gw, call }: Job, request: InputRequest, answer: ClientAnswer): Promise<void> {
  return gw.audit.input(call, { request, outcome: outcomeOf(answer), answer: answer.text, rule: null });
}

/**
 * Puts a server's question to the caller over the stream of its call; `signal` ends when the call does, or before.
 * Throws `input-undeclared`, `denied`, `input-unavailable` where there is no way to ask or no answer in time,
 * `audit-unavailable`, `cancelled`.
 */
export async function askCaller(job: Job, request: InputRequest, signal: AbortSignalLike): Promise<ClientAnswer> {
  const { gw, call, server } = job;
  await admitQuestion(job, request);
  const { ask } = call;
  if (!ask) {
    throw new Failure(
      "input-unavailable",
      `The server "${server}" asks for ${request.method}, but this client cannot be asked: that takes a session, and an Accept header with text/event-stream.`,
    );
  }
  await recordAsked(job, request);
  const asked = forLegacyClient(request, call.inbound.revision, `${call.id}-${gw.nextId()}`);
  const until = new AbortController();
  const giveUp = (why: "late" | "aborted"): never => {
    until.abort();
    if (why === "aborted") throw new Failure("cancelled", "The call was given up while its caller was asked.");
    throw new Failure("input-unavailable", `The client did not answer within ${answerTime / 60_000} minutes.`);
  };
  if (signal.aborted) giveUp("aborted");
  const answer = await within(ask(asked, until.signal), answerTime, signal, giveUp);
  // Its guardrails may have changed while it was thought about.
  if (answer.kind === "result") await admitQuestion(job, request);
  await recordAnswer(job, request, answer);
  return answer.kind === "result" ? { kind: "result", text: forNextHop(answer.text) } : answer;
}

/** The answer to a legacy server whose question was refused or failed. */
export function refusalAnswer(error: unknown): ClientAnswer {
  const { code, message } = asFailure(error);
  return { kind: "error", text: JSON.stringify({ code: answerCodes[code] ?? rpcCodes.internalError, message }) };
}

// -1 is how clients say that their user declined (2025-11-25, sampling).
const answerCodes: Partial<Record<FailureCode, number>> = { "input-undeclared": rpcCodes.methodNotFound, denied: -1 };

/** The failure of a call whose client answered a question with an error. */
export function refusedByClient({ method }: InputRequest, { text }: ClientAnswer): Failure {
  const error: unknown = JSON.parse(text);
  const said = isObject(error) && typeof error.message === "string" ? `: ${cut(error.message, 300)}` : "";
  return new Failure("input-unavailable", `The client did not answer ${method}${said}.`);
}
