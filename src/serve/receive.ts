import type { CallInit } from "../core/call.ts";
import { asFailure, Failure } from "../core/failure.ts";
import type { Inbound, Revision } from "../core/inbound.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { readInbound, type WireContext } from "../mcp/classify.ts";
import { idOf, idsIn, splitBatch } from "../mcp/message.ts";
import { modernRevision } from "../mcp/revisions.ts";

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
    values: 0,
    // What is no request has an id of the gateway's own. Without HTTP its client would take a refusal under that id for
    // the answer to its own request.
    idText: headers || idsIn(text, "requests").length > 0 ? idOf(text) : null,
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
