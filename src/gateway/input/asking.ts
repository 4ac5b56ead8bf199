import type { RoutedCall } from "../../core/call.ts";
import type { AbortSignalLike } from "../../core/cancel.ts";
import { Failure, type FailureCode, failureFrom } from "../../core/failure.ts";
import {
  answerTimeoutMs,
  type ClientAnswer,
  type ClientCapabilities,
  type InputRequest,
  type Revision,
} from "../../core/inbound.ts";
import { objectIn } from "../../core/json.ts";
import type { Logger } from "../../core/log.ts";
import type { InputStep, Reached } from "../../core/ports.ts";
import type { SessionQuestion } from "../../core/upstream.ts";
import { mayUse } from "../../core/rights.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { cut } from "../../core/text.ts";
import { within } from "../../core/wait.ts";
import { type Asked, forLegacyClient, outcomeOf, undeclared } from "../../mcp/input-round.ts";
import { forNextHop } from "../../mcp/meta.ts";
import type { Gateway } from "../gateway.ts";
import { inputDenied } from "./client-answers.ts";

// A server asks by a request of its own (legacy) or by a result that asks for input (modern), and a client can be asked
// by a request (legacy) or by a result (modern). So there are four cases:
// - legacy server, legacy client: the question goes over the stream of the call (`askCaller`);
// - legacy server, modern client: the call to the server stays open while the client answers in rounds (`Rounds`);
//   between two rounds it waits in `Parking`;
// - modern server, legacy client: the questions go over the stream of the call, and the call is sent again with the
//   answers (`bridge`);
// - modern server, modern client: the result is passed on with its state sealed (`admitReply`), and the client calls
//   again (`retry`).

/** A client that a server asks; `record` records each step. */
type Client = Pick<Reached, "who" | "source"> & {
  readonly server: string;
  readonly capabilities: ClientCapabilities;
  readonly revision: Revision | null;
  /** Whether it cannot be asked during this call, whatever it declared. */
  readonly unreachable: boolean;
  /** Sends it a request; null if that is not possible. */
  readonly ask: Reached["ask"] | null;
  /** Returns an id for a URL question that has none. */
  questionId(): string;
  readonly inForce: Gateway["inForce"];
  record(step: InputStep): Promise<void>;
};

const callerOf = (gw: Gateway, call: RoutedCall): Client => ({
  who: call.who,
  source: call.source,
  server: call.route.server,
  capabilities: call.capabilities,
  revision: call.inbound.revision,
  // A legacy client without a session has declared nothing, so this is a call that `mcpgw__call` makes for a client of
  // 2026-07-28. Such a client is asked in rounds, which a call within another call does not have.
  unreachable: call.inbound.era === "legacy" && call.session === null,
  ask: call.ask,
  questionId: () => `${call.id}-${gw.nextId()}`,
  inForce: gw.inForce,
  record: (step) => gw.audit.input(call, step),
});

/**
 * Refuses a question, and records that, if the client did not declare its kind, a current guardrail forbids it, or the
 * client cannot be asked during the call. Throws `input-undeclared`, `denied` or `input-unavailable`.
 */
async function admit(client: Client, request: InputRequest): Promise<void> {
  const refusal = refusalOf(client, request);
  if (refusal) await refuse(client, request, refusal);
}

async function refuse(client: Client, request: InputRequest, refusal: Failure): Promise<never> {
  await client.record(refusedStep(request, refusal));
  throw refusal;
}

/** Returns why the caller may not be asked this question now; null if it may. */
export const refusalTo = (gw: Gateway, call: RoutedCall, request: InputRequest): Failure | null =>
  refusalOf(callerOf(gw, call), request);

function refusalOf(client: Client, request: InputRequest): Failure | null {
  const { who, source, server, capabilities, revision, unreachable } = client;
  const { method } = request;
  const asks = `The server "${server}" asks for ${method}`;
  const missing = undeclared(capabilities.value, request, revision);
  if (missing !== null) return new Failure("input-undeclared", `${asks}, but the client did not declare ${missing}.`);
  const { allowed, ...verdict } = client.inForce().policy.admitsInput(who, source, server, method);
  if (!allowed) return inputDenied(`The server "${server}" may not ask the client for ${method}`, verdict);
  if (!unreachable) return null;
  return new Failure(
    "input-unavailable",
    `${asks}, but the tool "call" cannot ask this client: call the tool directly.`,
  );
}

/**
 * Admits either all questions to a call's caller or none, as `admit` does, and records that they are sent in a round.
 * Also throws `audit-unavailable`.
 */
export async function admitAll(gw: Gateway, call: RoutedCall, all: readonly Pick<Asked, "request">[]): Promise<void> {
  const client = callerOf(gw, call);
  for (const { request } of all) await admit(client, request);
  for (const { request } of all) await client.record(askedStep(request));
}

/** Marks a failure to ask a modern server's questions: the call may have run up to them. */
export const asking = <T>(questions: Promise<T>): Promise<T> =>
  questions.catch((error: unknown) => {
    if (!(error instanceof Failure) || error.detail.ran) throw error;
    throw new Failure(error.code, error.said, { ...error.detail, ran: "maybe" });
  });

const askedStep = (request: InputRequest): InputStep => ({
  request,
  outcome: "asked",
  answer: null,
  rule: null,
});

/** Returns the step of a question that is not sent or not answered. */
export const refusedStep = (request: InputRequest, { message, detail }: Failure): InputStep => ({
  request,
  outcome: "refused",
  answer: null,
  rule: detail.rule ?? null,
  reason: message,
});

/** Returns the step that is recorded before an answer is passed on. */
export const answeredStep = (request: InputRequest, answer: ClientAnswer): InputStep => ({
  request,
  outcome: outcomeOf(request.method, answer),
  answer: answer.text,
  rule: null,
});

/**
 * Sends a server's question to the caller over the stream of its call, and resolves with the answer. `signal` fires
 * when the call ends or the question is withdrawn. Throws `input-undeclared`, `denied`, `input-unavailable` if the
 * caller cannot be asked or does not answer in time, `audit-unavailable`, `cancelled`.
 */
export const askCaller = (
  gw: Gateway,
  call: RoutedCall,
  request: InputRequest,
  signal: AbortSignalLike,
): Promise<ClientAnswer> => ask(callerOf(gw, call), request, signal);

async function ask(client: Client, request: InputRequest, signal: AbortSignalLike): Promise<ClientAnswer> {
  await admit(client, request);
  if (!client.ask) {
    const message = `The server "${client.server}" asks for ${request.method}, but this client cannot be asked: it needs a session, and an Accept header with text/event-stream.`;
    return refuse(client, request, new Failure("input-unavailable", message));
  }
  await client.record(askedStep(request));
  const until = new AbortController();
  const giveUp = (why: "late" | "aborted"): never => {
    until.abort(signal.reason);
    if (why === "aborted") throw new Failure("cancelled", "The question was cancelled while the client was asked.");
    throw new Failure("input-unavailable", `The client did not answer within ${answerTimeoutMs / 60_000} minutes.`);
  };
  if (signal.aborted) giveUp("aborted");
  const question = forLegacyClient(request, client.revision, client.questionId());
  const answer = await within(client.ask(question, until.signal), answerTimeoutMs, signal, giveUp);
  // The guardrails may have changed before the user answered.
  if (answer.kind === "result") await admit(client, request);
  await client.record(answeredStep(request, answer));
  return answer.kind === "result" ? { kind: "result", text: forNextHop(answer.text, "progressToken") } : answer;
}

/**
 * Sends a server's question outside of any call to the client whose session owns the server's instance. `signal`
 * withdraws it. Never throws: a failure becomes the answer to the server.
 */
export async function askSession(
  { notifier, audit, inForce }: Pick<Gateway, "notifier" | "audit" | "inForce">,
  { server, owner, session: id, request }: SessionQuestion,
  signal: AbortSignalLike,
): Promise<ClientAnswer> {
  const to = notifier.reach(id);
  if (to?.who.id !== owner) {
    const message = "This belongs to no request in flight, and the client has no stream open for other requests";
    return { kind: "error", text: JSON.stringify({ code: rpcCodes.methodNotFound, message }) };
  }
  const { session, ...reached } = to;
  const client: Client = {
    ...reached,
    server,
    capabilities: session.capabilities,
    revision: session.revision,
    unreachable: false,
    questionId: () => id,
    inForce,
    record: (step) => audit.inputOutside(to, server, step),
  };
  try {
    // No running call has passed policy for this, and a reload may have removed the caller's rights.
    if (!mayUse(inForce().policy, to.who, to.source, server)) await refuse(client, request, withoutRight(server));
    return await ask(client, request, signal);
  } catch (error) {
    return refusalAnswer(error, inForce().log);
  }
}

const withoutRight = (server: string): Failure =>
  inputDenied(`The server "${server}" may not ask the client`, {
    rule: null,
    reason: "because its caller no longer has any right on it",
  });

/** Returns the answer that a legacy server gets if its question was refused or failed; logs what concerns operators. */
export function refusalAnswer(error: unknown, log: Logger): ClientAnswer {
  // `said` leaves out whether the call has run, which its server knows.
  const { code, said: message } = failureFrom(error, log);
  return { kind: "error", text: JSON.stringify({ code: answerCodes[code] ?? rpcCodes.internalError, message }) };
}

// Clients send -1 if their user declined (2025-11-25, sampling).
const answerCodes: Partial<Record<FailureCode, number>> = { "input-undeclared": rpcCodes.methodNotFound, denied: -1 };

/** Returns the failure of a call whose client answered a server's question with an error or with something else. */
export function refusedByClient({ method }: InputRequest, { text }: ClientAnswer): Failure {
  const { message } = objectIn(text);
  const said = typeof message === "string" ? `: ${cut(message, 300)}` : "";
  return new Failure("input-unavailable", `The client did not answer ${method}${said}`.replace(/\.?$/, "."));
}
