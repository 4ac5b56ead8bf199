import type { CallInit } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import { hasExtensions, type Inbound, type Revision } from "../core/inbound.ts";
import { rpcCodes } from "../core/rpc-code.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { readInbound, type WireContext } from "../mcp/classify.ts";
import { idOf, idsIn, isBatch, plainId, splitBatch } from "../mcp/message.ts";
import { assumedLegacy, isModern, modernRevision } from "../mcp/revisions.ts";
import { versionHeader } from "../mcp/standard-headers.ts";

/** One message as it was read, and its fault if it is invalid; it is not a call yet. */
export type Received = Readonly<Pick<CallInit, "inbound" | "fault">>;

const lastBatches: Revision = "2025-03-26";

/**
 * Reads one message, or a batch from a client whose revision has batches. An error becomes the `fault` of its message,
 * which is refused when the call is handled. A batch that is invalid as a whole becomes one message with a fault, so
 * that none of its messages run.
 */
export function receive(text: string, gw: Gateway, context: WireContext): Received | Received[] {
  if (!isBatch(text) || !takesBatches(context)) return receiveOne(text, gw, context);
  try {
    return receiveBatch(text, gw, context);
  } catch (error) {
    return refused(text, context, asFailure(error));
  }
}

/** Over HTTP, clients of 2026-07-28 and clients without a session name their revision in each request. */
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

/** Returns a refused message. It ends the questions that it answers with an error, as no other answer will come. */
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
    if (ids.has(id)) throw new Failure("invalid-request", `Two requests in the batch have the id ${idText}.`);
    ids.add(id);
    if (method !== "initialize") return received;
    return { ...received, fault: new Failure("invalid-request", '"initialize" must not be part of a batch.') };
  });
}

/**
 * Returns the id for the refusal of an unreadable message. A message that is not a request may be a client's answer
 * under an id of the gateway: except over HTTP, the client would take the refusal for the answer to its own request
 * with that id.
 */
function refusedId(text: string, { headers, revision }: Pick<WireContext, "headers" | "revision">): string | null {
  const mayAnswer = headers === null && revision !== null && idsIn(text, "requests").length === 0;
  return mayAnswer ? null : idOf(text);
}

/** Returns a stand-in for an unreadable message, so that its refusal has an id, a method and a record. */
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

/** Whether a client without a session expects messages before the answer, by its request or a declared extension. */
export function expectsMessages(inbound: Inbound): boolean {
  const { progressToken, logLevel, capabilities } = inbound;
  if (progressToken !== null || logLevel !== null || isStanding(inbound)) return true;
  return capabilities !== null && hasExtensions(capabilities);
}

/** Whether the call lasts as long as its caller wants. */
export function isStanding({ method }: Inbound): boolean {
  return method === "subscriptions/listen";
}
