import { Failure } from "../core/failure.ts";

/** Matches a weight of zero, which marks a type as not acceptable (RFC 9110, 12.4.2). */
const never = String.raw`\s*;\s*q=0(?:\.0*)?\s*(?:[,;]|$)`;
const json = new RegExp(String.raw`application/(?:json|\*)(?!${never})`, "i");
const eventStream = new RegExp(String.raw`(?:text/(?:event-stream|\*)|\*/\*)(?!${never})`, "i");
const named = new RegExp(`text/event-stream(?!${never})`, "i");
const namedFirst = new RegExp(`^${named.source}`, "i");
const ruledOut = new RegExp(`text/event-stream${never}`, "i");

/** Returns why a request with these headers cannot be read or answered; null if it can. */
export function unacceptable(headers: Headers): Failure | null {
  const unread = mediaTypeProblem(headers);
  if (unread !== null) return new Failure("unsupported-media", unread);
  // Bun reads trailers as the next request, and drops the connection before the call can be answered.
  if (headers.has("trailer"))
    return new Failure("invalid-request", "Send the message without trailers; they are not supported.");
  if (json.test(headers.get("accept") ?? "") || acceptsEvents(headers)) return null;
  return new Failure(
    "not-acceptable",
    "Responses are application/json or text/event-stream; the Accept header allows neither.",
  );
}

/** Returns why these headers do not describe plain JSON in UTF-8; null if they do. */
function mediaTypeProblem(headers: Headers): string | null {
  const encoding = headers.get("content-encoding");
  if (encoding !== null && !/^identity$/i.test(encoding)) {
    return "Send the message without Content-Encoding; none is supported.";
  }
  const type = headers.get("content-type") ?? "";
  if (type === "application/json") return null;
  if (!/^application\/json\s*(;|$)/i.test(type)) return "Send the message as Content-Type: application/json.";
  const charset = /;\s*charset\s*=\s*"?([^\s;"]*)/i.exec(type)?.[1] ?? "utf-8";
  return /^utf-?8$/i.test(charset) ? null : "Send the message in UTF-8; no other charset is supported.";
}

/** Throws if the client of a GET does not accept event streams. */
export function requireEventStream(headers: Headers): void {
  if (acceptsEvents(headers)) return;
  throw new Failure("invalid-request", "GET opens an event stream: send Accept: text/event-stream.");
}

/** Whether a client accepts event streams. A client without Accept does (RFC 9110, 12.5.1). */
export function acceptsEvents(headers: Headers): boolean {
  const accept = headers.get("accept");
  return accept === null || (eventStream.test(accept) && !ruledOut.test(accept));
}

/** Whether a client names event streams, as streamable HTTP requires, so that a slow answer may be one. */
export function namesEvents(headers: Headers): boolean {
  return named.test(headers.get("accept") ?? "");
}

/** Whether a client names event streams first: it wants a stream that it can resume, even for a silent call. */
export function prefersEvents(headers: Headers): boolean {
  return namedFirst.test(headers.get("accept") ?? "");
}
