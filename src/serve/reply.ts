import type { Call } from "../core/call.ts";
import type { Failure } from "../core/failure.ts";
import type { Inbound } from "../core/inbound.ts";
import type { Implementation } from "../mcp/meta.ts";
import { answerMessage, failureMessage } from "../mcp/reply.ts";
import type { AnswerBody } from "./unread-body.ts";

/** Returns the JSON-RPC message that answers an ended call; null if the protocol requires none. */
export function answerText(call: Call, identity: Implementation): string | null {
  const { inbound, reply, failure } = call;
  if (failure?.code === "cancelled") return null;
  if (failure) return failureMessage(failure, inbound, identity);
  if (!reply || inbound.idText === null) return null;
  return answerMessage(inbound, reply, identity, call.route?.wire ?? null);
}

const json = { "content-type": "application/json" };
// Copying a Headers object is faster than building one.
const plain = { headers: new Headers(json) };

/** Returns the HTTP response to an ended call; `text` is its `answerText`, `bodyOf` builds the body of a success. */
export function answer(
  call: Call,
  text: string | null,
  headers: Record<string, string> | null = null,
  bodyOf: (text: string) => AnswerBody = (text) => text,
): Response {
  // A cancelled call has no answer, which an event stream without events expresses.
  if (text === null) return new Response("", { headers: { ...headers, "content-type": "text/event-stream" } });
  if (!call.failure) return new Response(bodyOf(text), headers ? { headers: { ...headers, ...json } } : plain);
  return new Response(text, {
    status: httpStatus(call.failure, call.inbound),
    headers: { ...headers, ...failureHeaders(call.failure), ...json },
  });
}

/** Returns the HTTP response to a request that is refused before it becomes a call. */
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

// Refusals that close the connection: the rest of the body is not awaited, or there are too many connections. After a
// body that is too large the connection stays open: closing it while the client still sends would reset it before the
// client has read the refusal. Bun discards the rest of the body.
const closing: ReadonlySet<string> = new Set(["body-timeout", "unknown-expectation", "crowded"]);

// The Retry-After of a 503 that does not know when capacity will be free.
const defaultRetryAfterMs = 1_000;

function failureHeaders({ code, detail, row }: Failure): Record<string, string> {
  const headers: Record<string, string> = {};
  const { retryAfterMs = row.http === 503 ? defaultRetryAfterMs : undefined } = detail;
  if (retryAfterMs !== undefined) headers["retry-after"] = String(Math.max(1, Math.ceil(retryAfterMs / 1000)));
  if (detail.challenge) headers["www-authenticate"] = detail.challenge;
  if (closing.has(code)) headers["connection"] = "close";
  return headers;
}
