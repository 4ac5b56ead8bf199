import { Cancel } from "../core/cancel.ts";
import type { Call, CallInit } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import type { Inbound, Revision } from "../core/inbound.ts";
import type { Presented } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { callOf } from "../gateway/call.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { refuse } from "../gateway/handle.ts";
import { readInbound, type WireContext } from "../mcp/classify.ts";
import { idOf, splitBatch } from "../mcp/message.ts";
import { modernRevision } from "../mcp/revisions.ts";
import type { Session } from "../session/session.ts";
import { credentialsOf, sourceOf } from "./credentials.ts";
import type { Visit } from "./routes.ts";

/** One message as it was read, with what is wrong with it; no call yet. */
export type Received = Readonly<Pick<CallInit, "inbound" | "fault">>;

/** Reads one message. An error becomes its `fault`, to be refused when the call is handled. */
export function receive(text: string, gw: Gateway, context: WireContext): Received {
  try {
    return { inbound: readInbound(text, gw.shape, context), fault: null };
  } catch (error) {
    return { inbound: unreadable(text, context.headers), fault: asFailure(error) };
  }
}

/** The last revision with batches. */
const lastBatches: Revision = "2025-03-26";

/** Whether a client of that revision may send several messages as one array. */
export function takesBatches(revision: string | null): boolean {
  return revision !== null && revision <= lastBatches;
}

/**
 * Reads the messages of a batch, each with its own fault. Throws if the batch as a whole is wrong: none of its messages
 * may run then.
 */
export function receiveBatch(text: string, gw: Gateway, context: WireContext): Received[] {
  const ids = new Set<string>();
  return splitBatch(text, gw.shape, gw.shape.batch).map((one) => {
    const received = receive(one, gw, context);
    const { kind, idText, method } = received.inbound;
    if (kind !== "request" || idText === null) return received;
    if (ids.has(idText)) throw new Failure("invalid-request", `Two requests of the batch have the id ${idText}.`);
    ids.add(idText);
    if (method !== "initialize") return received;
    return { ...received, fault: new Failure("invalid-request", '"initialize" must not be part of a batch.') };
  });
}

/** Stands in for an unreadable message, so that its refusal has an id, a method and a record. */
export function unreadable(text: string, headers: Headers | null): Inbound {
  return {
    kind: "request",
    era: headers?.get("mcp-protocol-version") === modernRevision ? "modern" : "legacy",
    revision: null,
    text: "",
    idText: idOf(text),
    method: "",
    params: {},
    spans: { params: null, arguments: null },
    progressToken: null,
    paramHeaders: null,
    client: null,
    capabilities: null,
    logLevel: null,
    answer: null,
  };
}

/** Whether the call lasts for as long as its caller wants. */
export function isStanding({ method }: Inbound): boolean {
  return method === "subscriptions/listen";
}

/** Identifies the sender of a request without a message. A refusal is recorded and thrown. */
export async function whoAsks(gw: Gateway, visit: Visit): Promise<Principal> {
  const who = identify(gw, presentedBy(visit));
  return who instanceof Failure ? refused(gw, visit, null, who) : who;
}

/**
 * The answer to the caller that `whoAsks` finds, and to the session that `find` finds for it; a response if there is no
 * such endpoint. What `answer` throws is recorded.
 */
export async function enter<T>(
  gw: Gateway,
  visit: Visit,
  answer: (who: Principal, session: Session | null) => T,
  find: (who: Principal) => Session | null = () => null,
): Promise<T | Response> {
  const who = await whoAsks(gw, visit);
  const session = find(who);
  if (!isServed(gw, visit.scope, session)) return nothingHere();
  try {
    return answer(who, session);
  } catch (error) {
    return refused(gw, visit, who, asFailure(error));
  }
}

/** The parts of an HTTP request that identify its sender, in a form that a connection can keep. */
export function presentedBy({ req: { headers }, ip }: Visit): Presented {
  const { transport, loopback, forwarded } = sourceOf(headers, ip);
  return { source: { transport, ip, loopback, forwarded }, credentials: credentialsOf(headers), vouched: null };
}

/** Records a refusal, of the caller if it is known, and throws it. */
export async function refused(gw: Gateway, visit: Visit, who: Principal | null, failure: Failure): Promise<never> {
  const call = probe(gw, visit.req, { ...presentedBy(visit), vouched: who }, "");
  call.who = who;
  await refuse(gw, call, failure);
  throw failure;
}

/** The caller, or the failure of its authentication. */
export function identify(gw: Gateway, presented: Presented): Principal | Failure {
  try {
    return gw.authn.identify(presented);
  } catch (error) {
    return asFailure(error);
  }
}

/** The failure of a request whose headers rule out reading it; null if it can be read. */
export function unacceptable(headers: Headers): Failure | null {
  const unread = unreadableAs(headers);
  if (unread !== null) return new Failure("unsupported-media", unread);
  const accept = headers.get("accept");
  if (accept === null || /application\/(json|\*)|\*\/\*|text\/event-stream/i.test(accept)) return null;
  return new Failure(
    "not-acceptable",
    "Answers are application/json or text/event-stream; the Accept header allows neither.",
  );
}

/** Why these headers do not describe plain JSON in UTF-8; null if they do. */
function unreadableAs(headers: Headers): string | null {
  const encoding = headers.get("content-encoding");
  if (encoding !== null && !/^identity$/i.test(encoding)) {
    return "Send the message as it is: no Content-Encoding is read.";
  }
  const type = headers.get("content-type") ?? "";
  if (type === "application/json") return null;
  if (!/^application\/json\s*(;|$)/i.test(type)) return "Send the message as Content-Type: application/json.";
  const charset = /;\s*charset\s*=\s*"?([^\s;"]*)/i.exec(type)?.[1] ?? "utf-8";
  return /^utf-?8$/i.test(charset) ? null : "Send the message in UTF-8: no other charset of Content-Type is read.";
}

/** Throws if the client of a GET could not read the event stream that it opens. */
export function needEventStream(headers: Headers): void {
  if (/text\/event-stream|\*\/\*/.test(headers.get("accept") ?? "")) return;
  throw new Failure("invalid-request", "GET opens an event stream: send Accept: text/event-stream.");
}

/** A call of which only the sender and perhaps the id are known, to record its refusal. */
export function probe(gw: Gateway, req: Request, presented: Presented, text: string): Call {
  const received = { inbound: unreadable(text, req.headers), fault: null };
  return callOf(gw, received, presented, { controller: new Cancel(), session: null, emit: null });
}

/**
 * Whether there is such an endpoint. One that a reload took away is still there for the sessions that it opened: their
 * running calls can be answered, cancelled and resumed, but they begin no more.
 */
export function isServed({ catalog }: Gateway, scope: string | null, session: Session | null): boolean {
  return session !== null || scope === null || catalog.hasScope(scope);
}

/** The answer for a path that is not served, or whose scope does not exist. */
export function nothingHere(): Response {
  return new Response("Nothing is served at this path; MCP is at /mcp.\n", { status: 404 });
}
