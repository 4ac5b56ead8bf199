import type { Call } from "../core/call.ts";
import type { AbortSignalLike } from "../core/cancel.ts";
import { asFailure, Failure, type FailureCode } from "../core/failure.ts";
import {
  answerTime,
  type ClientAnswer,
  type ClientCapabilities,
  type InputRequest,
  type Revision,
} from "../core/inbound.ts";
import type { InputStep, Reached } from "../core/ports.ts";
import type { SessionQuestion } from "../core/upstream.ts";
import type { Principal } from "../core/principal.ts";
import { rpcCodes } from "../core/rpc-code.ts";
import { cut } from "../core/text.ts";
import { within } from "../core/wait.ts";
import { type Asked, forLegacyClient, forNextHop, outcomeOf, undeclared } from "../mcp/input-round.ts";
import { isObject } from "../mcp/message.ts";
import type { Gateway } from "./gateway.ts";
import { inputDenied } from "./given.ts";

/** A call that has begun, and what is needed to ask its caller something. */
export type Job = { readonly gw: Gateway; readonly call: Call; readonly who: Principal; readonly server: string };

/** A client that a server asks something, and how each step of that is put on record. */
type Client = Pick<Reached, "who" | "source"> & {
  readonly server: string;
  readonly capabilities: ClientCapabilities;
  readonly revision: Revision | null;
  readonly inForce: Gateway["inForce"];
  record(step: InputStep): Promise<void>;
};

const callerOf = ({ gw, call, who, server }: Job): Client => ({
  who,
  source: call.source,
  server,
  capabilities: call.capabilities,
  revision: call.inbound.revision ?? call.session?.revision ?? null,
  inForce: gw.inForce,
  record: (step) => gw.audit.input(call, step),
});

/**
 * Refuses a question that the client did not declare or that a guardrail forbids by now, and records that. Throws
 * `input-undeclared` or `denied`.
 */
async function admit(client: Client, request: InputRequest): Promise<void> {
  const { who, source, server, capabilities, revision } = client;
  const missing = undeclared(capabilities.value, request, revision);
  const { allowed, ...verdict } = client.inForce().admitsInput(who, source, server, request.method);
  if (missing === null && allowed) return;
  await client.record({ request, outcome: "refused", answer: null, rule: allowed ? null : verdict.rule });
  if (missing !== null) {
    throw new Failure(
      "input-undeclared",
      `The server "${server}" asks for ${request.method}, but the client did not declare ${missing}.`,
    );
  }
  throw inputDenied(`The server "${server}" may not ask the client for ${request.method}`, verdict);
}

/** Refuses what the caller of a call may not be asked, as `admit` does. */
export const admitQuestion = (job: Job, request: InputRequest): Promise<void> => admit(callerOf(job), request);

/** Admits all questions of a round or none, and records that they leave for the caller. */
export async function admitAll(job: Job, all: readonly Asked[]): Promise<void> {
  for (const { request } of all) await admitQuestion(job, request);
  for (const { request } of all) await recordAsked(job, request);
}

/** Records that a question leaves for the caller, before it does. */
export const recordAsked = ({ gw, call }: Job, request: InputRequest): Promise<void> =>
  gw.audit.input(call, asked(request));

/** Records what the caller answered, before it is passed on. */
export const recordAnswer = ({ gw, call }: Job, request: InputRequest, answer: ClientAnswer): Promise<void> =>
  gw.audit.input(call, answered(request, answer));

const asked = (request: InputRequest): InputStep => ({ request, outcome: "asked", answer: null, rule: null });

const answered = (request: InputRequest, answer: ClientAnswer): InputStep => ({
  request,
  outcome: outcomeOf(answer),
  answer: answer.text,
  rule: null,
});

/**
 * Puts a server's question to the caller over the stream of its call; `signal` ends when the call does, or before.
 * Throws `input-undeclared`, `denied`, `input-unavailable` where there is no way to ask or no answer in time,
 * `audit-unavailable`, `cancelled`.
 */
export async function askCaller(job: Job, request: InputRequest, signal: AbortSignalLike): Promise<ClientAnswer> {
  const { gw, call, server } = job;
  const caller = callerOf(job);
  await admit(caller, request);
  const { ask } = call;
  if (!ask) {
    throw new Failure(
      "input-unavailable",
      `The server "${server}" asks for ${request.method}, but this client cannot be asked: that takes a session, and an Accept header with text/event-stream.`,
    );
  }
  return put(caller, request, ask, `${call.id}-${gw.nextId()}`, signal);
}

/** Puts an admitted question to a client by `ask`; `id` names a URL that has no name. */
async function put(
  client: Client,
  request: InputRequest,
  ask: Reached["ask"],
  id: string,
  signal: AbortSignalLike,
): Promise<ClientAnswer> {
  await client.record(asked(request));
  const until = new AbortController();
  const giveUp = (why: "late" | "aborted"): never => {
    until.abort();
    if (why === "aborted") throw new Failure("cancelled", "The question was given up while the client was asked.");
    throw new Failure("input-unavailable", `The client did not answer within ${answerTime / 60_000} minutes.`);
  };
  if (signal.aborted) giveUp("aborted");
  const question = forLegacyClient(request, client.revision, id);
  const answer = await within(ask(question, until.signal), answerTime, signal, giveUp);
  // Its guardrails may have changed while it was thought about.
  if (answer.kind === "result") await admit(client, request);
  await client.record(answered(request, answer));
  return answer.kind === "result" ? { kind: "result", text: forNextHop(answer.text) } : answer;
}

/**
 * Puts what a server asks outside of any call to the session whose instance it is, where its client can be reached;
 * `signal` ends it. Never throws: the answer is the server's.
 */
export async function askSession(
  { notifier, audit, inForce }: Pick<Gateway, "notifier" | "audit" | "inForce">,
  { server, owner, session: id, request }: SessionQuestion,
  signal: AbortSignalLike,
): Promise<ClientAnswer> {
  const to = notifier.reach(id);
  if (to?.who.id !== owner) {
    const message = "No request is in flight that this could be about, and the client listens to nothing else";
    return { kind: "error", text: JSON.stringify({ code: rpcCodes.methodNotFound, message }) };
  }
  const { who, source, session, ask } = to;
  const { capabilities, revision } = session;
  const record = (step: InputStep): Promise<void> => audit.inputOutside(to, server, step);
  const client: Client = { who, source, server, capabilities, revision, inForce, record };
  try {
    await admit(client, request);
    return await put(client, request, ask, id, signal);
  } catch (error) {
    return refusalAnswer(error);
  }
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
