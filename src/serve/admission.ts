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

/** Identifies the sender of a request that carries no message. A refusal is recorded and thrown. */
export async function authenticate(gw: Gateway, request: HttpRequest): Promise<Principal> {
  const who = tryIdentify(gw, presentedBy(request));
  return who instanceof Failure ? refuseAndThrow(gw, request, null, who) : who;
}

/**
 * Authenticates the caller and returns what `answer` returns for it and the session that `find` returns, or a response
 * if the endpoint is not served to it. An error of `answer` is recorded and thrown.
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

/** Records a refusal, with the caller if it is known, and throws it. */
export async function refuseAndThrow(
  gw: Gateway,
  request: HttpRequest,
  who: Principal | null,
  failure: Failure,
): Promise<never> {
  throw await refuse(gw, callToRefuse(gw, request, { ...presentedBy(request), vouched: who }, ""), failure);
}

/** Returns the caller, or the failure of its authentication. */
export function tryIdentify(gw: Gateway, presented: Presented): Principal | Failure {
  try {
    return gw.authn.identify(presented);
  } catch (error) {
    return asFailure(error);
  }
}

/** Returns a call for recording a refusal; its sender and its id may be unknown. */
export function callToRefuse(gw: Gateway, { raw }: HttpRequest, presented: Presented, text: string): Call {
  const received = { inbound: unreadable(raw.headers, idOf(text)), fault: null };
  const call = callOf(gw, received, presented, { controller: new Cancel(), session: null, scope: null, emit: null });
  call.who = presented.vouched;
  return call;
}

/**
 * Whether an endpoint is served to a caller; an endpoint whose servers are hidden from it is treated like one that does
 * not exist. An endpoint that a reload removed is still served to its sessions: their running calls can be answered,
 * cancelled and resumed, but no new call can begin.
 */
export function isServed(
  { catalog }: Gateway,
  scope: string | null,
  session: Session | null,
  { vouched, source }: { readonly vouched: Principal; readonly source: Source },
): boolean {
  return session !== null || scope === null || catalog.hasScopeFor(scope, vouched, source);
}

/** Records the attempt and returns the response for a missing or hidden scope; both must be indistinguishable. */
export async function notServed(
  gw: Gateway,
  request: HttpRequest,
  presented: Presented & { readonly vouched: Principal },
  text: string,
): Promise<Response> {
  const failure = new Failure("unknown-endpoint", `Nothing is served to this caller at /mcp/${request.scope}.`);
  await refuse(gw, callToRefuse(gw, request, presented, text), failure);
  return pathNotFound();
}

/** Returns the response for a path that is not served. */
export function pathNotFound(): Response {
  return new Response("Nothing is served at this path; MCP is at /mcp.\n", { status: 404 });
}

/**
 * Returns the response to OAuth client registration, in the form of RFC 7591. After a 401 without authorization server
 * metadata the protocol tells clients to register; they then show a person this text instead of the 401.
 */
export function noRegistration(): Response {
  const text =
    "OAuth is not supported here: the API key is missing or not valid. Send Authorization: Bearer … or X-API-Key: …";
  return Response.json({ error: "invalid_request", error_description: text }, { status: 404 });
}
