import { Cancel } from "../core/cancel.ts";
import type { Call } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import type { Presented } from "../core/ports.ts";
import type { Principal, Source } from "../core/principal.ts";
import { callOf } from "../gateway/call.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { refuse } from "../gateway/conclude.ts";
import { idOf } from "../mcp/message.ts";
import type { Session } from "../session/session.ts";
import type { Sessions } from "../session/sessions.ts";
import type { Traffic } from "../session/traffic.ts";
import type { BodyReader } from "./body.ts";
import type { ConnectionSlots } from "./connection-slots.ts";
import { credentialsOf, sourceOf } from "./credentials.ts";
import { unreadable } from "./receive.ts";
import type { Running } from "./running.ts";

/** What of the process the endpoints over HTTP work with; each takes what it needs. */
export type HttpContext = {
  current: () => Gateway;
  sessions: Sessions;
  running: Running;
  traffic: Traffic;
  bodies: BodyReader;
  slots: ConnectionSlots;
  /** Most requests, streams and WebSockets at once. */
  maxConnections: number;
};

/** A request that is being answered. */
export class Exchange {
  readonly req: Request;
  readonly ip: string | null;
  /** The server or toolset that its path names; null for all servers. */
  scope: string | null = null;
  readonly since = performance.now();
  /** Whether its connection is no longer closed for silence. */
  kept = false;
  /** Whether its client, cut off, could come back for the answer, if it had been sent an event id. */
  resumable = false;
  /** Called once if the answer is long in coming. */
  onLong: (() => void) | null = null;
  /** The call that runs on after the response has begun. */
  call: Promise<unknown> | null = null;

  constructor(req: Request, ip: string | null) {
    this.req = req;
    this.ip = ip;
  }
}

/** Identifies the sender of a request without a message. A refusal is recorded and thrown. */
export async function authenticate(gw: Gateway, exchange: Exchange): Promise<Principal> {
  const who = tryIdentify(gw, presentedBy(exchange));
  return who instanceof Failure ? refuseAndThrow(gw, exchange, null, who) : who;
}

/**
 * The answer to the caller that `authenticate` finds, and to the session that `find` finds for it; a response if there is no
 * such endpoint. What `answer` throws is recorded.
 */
export async function answerCaller<T>(
  gw: Gateway,
  exchange: Exchange,
  answer: (who: Principal, session: Session | null) => T,
  find: (who: Principal) => Session | null = () => null,
): Promise<T | Response> {
  const who = await authenticate(gw, exchange);
  const session = find(who);
  const presented = { ...presentedBy(exchange), vouched: who };
  if (!isServed(gw, exchange.scope, session, presented)) return notServed(gw, exchange, presented, "");
  try {
    return answer(who, session);
  } catch (error) {
    return refuseAndThrow(gw, exchange, who, asFailure(error));
  }
}

/** The parts of an HTTP request that identify its sender, in a form that a connection can keep. */
export function presentedBy({ req: { headers }, ip }: Exchange): Presented {
  const { transport, loopback, forwarded } = sourceOf(headers, ip);
  return { source: { transport, ip, loopback, forwarded }, credentials: credentialsOf(headers), vouched: null };
}

/** Records a refusal, of the caller if it is known, and throws it. */
export async function refuseAndThrow(
  gw: Gateway,
  exchange: Exchange,
  who: Principal | null,
  failure: Failure,
): Promise<never> {
  throw await refuse(gw, callToRefuse(gw, exchange, { ...presentedBy(exchange), vouched: who }, ""), failure);
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
export function callToRefuse(gw: Gateway, { req }: Exchange, presented: Presented, text: string): Call {
  const received = { inbound: unreadable(req.headers, idOf(text)), fault: null };
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
  exchange: Exchange,
  presented: Presented & { readonly vouched: Principal },
  text: string,
): Promise<Response> {
  const failure = new Failure("unknown-endpoint", `Nothing is served to this caller at /mcp/${exchange.scope}.`);
  await refuse(gw, callToRefuse(gw, exchange, presented, text), failure);
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
