import type { CallInit } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import { hasExtensions, type Inbound, type Revision } from "../core/inbound.ts";
import { rpcCodes } from "../core/rpc-code.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { readInbound, type WireContext } from "../mcp/classify.ts";
import { idOf, idsIn, isBatch, plainId, splitBatch } from "../mcp/message.ts";
import { assumedLegacy, isModern, modernRevision } from "../mcp/revisions.ts";
import { versionHeader } from "../mcp/standard-headers.ts";

/** One message as it was read, with what is wrong with it; no call yet. */
export type Received = Readonly<Pick<CallInit, "inbound" | "fault">>;

const lastBatches: Revision = "2025-03-26";

/**
 * Reads one message, or several as one array from a client of a revision that has batches. An error becomes the `fault`
 * of its message, to be refused when the call is handled. A batch that is wrong as a whole is one message with a fault:
 * none of those in it may run then.
 */
export function receive(text: string, gw: Gateway, context: WireContext): Received | Received[] {
  if (!isBatch(text) || !takesBatches(context)) return receiveOne(text, gw, context);
  try {
    return receiveBatch(text, gw, context);
  } catch (error) {
    return refused(text, context, asFailure(error));
  }
}

/** Over HTTP a client without a session names its revision with each request, and one of 2026-07-28 in any case. */
function takesBatches({ headers, revision }: WireContext): boolean {
  const named = versionHeader(headers);
  if (named !== null && isModern(named)) return false;
  const spoken = revision ?? (headers && (named ?? assumedLegacy));
  return spoken !== null && spoken <= lastBatches;
}

function receiveOne(text: string, gw: Gateway, context: WireContext): Received {
  try {
    return { inbound: readInbound(text, gw.caps, context), fault: null };
  } catch (error) {
    return refused(text, context, asFailure(error));
  }
}

/** What is refused as it stands. The questions that it answers are over: no better answer will come. */
export function refused(text: string, context: Pick<WireContext, "headers" | "revision">, fault: Failure): Received {
  const inbound = unreadable(context.headers, refusedId(text, context));
  const answersTo = idsIn(text, "responses");
  if (answersTo.length === 0) return { inbound, fault };
  const message = `The client's answer was refused: ${fault.message}`;
  const answer = { kind: "error", text: JSON.stringify({ code: rpcCodes.internalError, message }) } as const;
  return { inbound: { ...inbound, answer, answersTo }, fault };
}

function receiveBatch(text: string, gw: Gateway, context: WireContext): Received[] {
  const ids = new Set<string>();
  return splitBatch(text, gw.caps, gw.caps.batch).map((one) => {
    const received = receiveOne(one, gw, context);
    const { kind, idText, method } = received.inbound;
    if (kind !== "request" || idText === null) return received;
    const id = plainId(idText);
    if (ids.has(id)) throw new Failure("invalid-request", `Two requests of the batch have the id ${idText}.`);
    ids.add(id);
    if (method !== "initialize") return received;
    return { ...received, fault: new Failure("invalid-request", '"initialize" must not be part of a batch.') };
  });
}

/**
 * The id under which an unreadable message is refused. What is no request may be the answer of a session's client,
 * under an id of the gateway's own: without HTTP the client would take the refusal for the answer to its own request of
 * that id.
 */
function refusedId(text: string, { headers, revision }: Pick<WireContext, "headers" | "revision">): string | null {
  const mayAnswer = headers === null && revision !== null && idsIn(text, "requests").length === 0;
  return mayAnswer ? null : idOf(text);
}

/** Stands in for an unreadable message, so that its refusal has an id, a method and a record. */
export function unreadable(headers: Headers | null, idText: string | null = null): Inbound {
  return {
    kind: "request",
    era: headers?.get("mcp-protocol-version") === modernRevision ? "modern" : "legacy",
    revision: null,
    text: "",
    values: 0,
    idText,
    method: "",
    params: {},
    spans: { params: null, arguments: null },
    progressToken: null,
    paramHeaders: null,
    client: null,
    capabilities: null,
    logLevel: null,
    answer: null,
    answersTo: [],
  };
}

/**
 * Whether a client without a session is to be told of a call before its answer: what it asked for with the request, or
 * what an extension that it declared may bring.
 */
export function wantsNews(inbound: Inbound): boolean {
  const { progressToken, logLevel, capabilities } = inbound;
  if (progressToken !== null || logLevel !== null || isStanding(inbound)) return true;
  return capabilities !== null && hasExtensions(capabilities);
}

/** Whether the call lasts for as long as its caller wants. */
export function isStanding({ method }: Inbound): boolean {
  return method === "subscriptions/listen";
}
