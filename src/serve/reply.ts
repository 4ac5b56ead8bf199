import type { Call } from "../core/call.ts";
import type { Failure } from "../core/failure.ts";
import type { Inbound } from "../core/inbound.ts";
import type { Implementation } from "../mcp/meta.ts";
import { answerMessage, failureMessage } from "../mcp/reply.ts";
import type { AnswerBody } from "./unread-body.ts";

/** The JSON-RPC message that answers an ended call; null if the protocol wants none. */
export function answerText(call: Call, identity: Implementation): string | null {
  const { inbound, reply, failure } = call;
  if (failure?.code === "cancelled") return null;
  if (failure) return failureMessage(failure, inbound, identity);
  if (!reply || inbound.idText === null) return null;
  return answerMessage(inbound, reply, identity, call.route?.wire ?? null);
}

const json = { "content-type": "application/json" };
// Headers are copied faster than they are made.
const plain = { headers: new Headers(json) };

/**
 * The HTTP answer to an ended call, whose `answerText` is `text`; `bodyOf` makes the body of one that is no failure.
 */
export function answer(
  call: Call,
  text: string | null,
  headers: Record<string, string> | null = null,
  bodyOf: (text: string) => AnswerBody = (text) => text,
): Response {
  // A cancelled call has no answer, and an event stream without events says so.
  if (text === null) return new Response("", { headers: { ...headers, "content-type": "text/event-stream" } });
  if (!call.failure) return new Response(bodyOf(text), headers ? { headers: { ...headers, ...json } } : plain);
  return new Response(text, {
    status: httpStatus(call.failure, call.inbound),
    headers: { ...headers, ...failureHeaders(call.failure), ...json },
  });
}

/** The HTTP answer to a request that is refused before there is a call. */
export function refusal(failure: Failure): Response {
  return new Response(failureMessage(failure, null), {
    status: failure.row.http,
    headers: { ...failureHeaders(failure), ...json },
  });
}

function httpStatus(failure: Failure, inbound: Inbound): number {
  const { http, legacyHttp } = failure.row;
  return inbound.era === "legacy" ? (legacyHttp ?? http) : http;
}

// The rest of such a body is not waited for, and a connection too many is not worth keeping. That of a body that is too
// large stays open: closed while its client still sends, it would be reset before the client has read the refusal. Bun
// discards what comes.
const closing: ReadonlySet<string> = new Set(["body-timeout", "unknown-expectation", "crowded"]);

// When to come back, if nobody knows when there will be room.
const usualWaitMs = 1_000;

function failureHeaders({ code, detail, row }: Failure): Record<string, string> {
  const headers: Record<string, string> = {};
  const { retryAfterMs = row.http === 503 ? usualWaitMs : undefined } = detail;
  if (retryAfterMs !== undefined) headers["retry-after"] = String(Math.max(1, Math.ceil(retryAfterMs / 1000)));
  if (detail.challenge) headers["www-authenticate"] = detail.challenge;
  if (closing.has(code)) headers["connection"] = "close";
  return headers;
}
