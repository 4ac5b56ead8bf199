import { Cancel } from "../core/cancel.ts";
import type { Call } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import type { Presented } from "../core/ports.ts";
import type { Principal, Source } from "../core/principal.ts";
import { callOf } from "../gateway/call.ts";
import { refuse } from "../gateway/conclude.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { idOf } from "../mcp/message.ts";
import type { Session } from "../session/session.ts";
import { type HttpRequest, presentedBy } from "./http-request.ts";
import { unreadable } from "./receive.ts";

// Whether the sender of an HTTP request is answered at all, and how one is refused.

/** Identifies the sender of a request without a message. A refusal is recorded and thrown. */
export async function authenticate(gw: Gateway, request: HttpRequest): Promise<Principal> {
  const who = tryIdentify(gw, presentedBy(request));
  return who instanceof Failure ? refuseAndThrow(gw, request, null, who) : who;
}

/**
 * The answer to the caller that `authenticate` finds, and to the session that `find` finds for it; a response if there
 * is no such endpoint. What `answer` throws is recorded.
 */
export async function answerCaller<T>(
  gw: Gateway,
  request: HttpRequest,
  answer: (who: Principal, session: Session | null) => T,
  find: (who: Principal) => Session | null = () => null,
): Promise<T | Response> {
  const who = await authenticate(gw, request);
  const session = find(who);
  const presented = { ...presentedBy(request), vouched: who };
  if (!isServed(gw, request.scope, session, presented)) return notServed(gw, request, presented, "");
  try {
    return answer(who, session);
  } catch (error) {
    return refuseAndThrow(gw, request, who, asFailure(error));
  }
}

/** Records a refusal, of the caller if it is known, and throws it. */
export async function refuseAndThrow(
  gw: Gateway,
  request: HttpRequest,
  who: Principal | null,
  failure: Failure,
): Promise<never> {
  throw await refuse(gw, callToRefuse(gw, request, { ...presentedBy(request), vouched: who }, ""), failure);
}

/** The caller, or the failure of its authentication. */
export function tryIdentify(gw: Gateway, presented: Presented): Principal | Failure {
  try {
    return gw.authn.identify(presented);
  } catch (error) {
    return asFailure(error);
  }
}

/** A call of which only the sender, if it is known at all, and perhaps the id are known, to record its refusal. */
export function callToRefuse(gw: Gateway, { raw }: HttpRequest, presented: Presented, text: string): Call {
  const received = { inbound: unreadable(raw.headers, idOf(text)), fault: null };
  const call = callOf(gw, received, presented, { controller: new Cancel(), session: null, scope: null, emit: null });
  call.who = presented.vouched;
  return call;
}

/**
 * Whether there is such an endpoint for a caller: one of servers that are hidden from it is as one that does not exist.
 * One that a reload took away is still there for the sessions that it opened: their running calls can be answered,
 * cancelled and resumed, but they begin no more.
 */
export function isServed(
  { catalog }: Gateway,
  scope: string | null,
  session: Session | null,
  { vouched, source }: { readonly vouched: Principal; readonly source: Source },
): boolean {
  return session !== null || scope === null || catalog.hasScopeFor(scope, vouched, source);
}

/**
 * The answer for a scope that does not exist, or is hidden from the caller, which must not differ in anything; that it
 * was tried is on record.
 */
export async function notServed(
  gw: Gateway,
  request: HttpRequest,
  presented: Presented & { readonly vouched: Principal },
  text: string,
): Promise<Response> {
  const failure = new Failure("unknown-endpoint", `Nothing is served to this caller at /mcp/${request.scope}.`);
  await refuse(gw, callToRefuse(gw, request, presented, text), failure);
  return nothingHere();
}

/** The answer for a path that is not served. */
export function nothingHere(): Response {
  return new Response("Nothing is served at this path; MCP is at /mcp.\n", { status: 404 });
}

/**
 * The answer to a client that takes a 401 for a call to register with OAuth, as the protocol tells it to where no
 * metadata names an authorization server: it shows a person this text instead of the 401, in the form of RFC 7591.
 */
export function noRegistration(): Response {
  const text =
    "There is no OAuth here: the API key is missing or not valid. Send Authorization: Bearer … or X-API-Key: …";
  return Response.json({ error: "invalid_request", error_description: text }, { status: 404 });
}
