import { Failure } from "../core/failure.ts";

// What the headers of a request say of its body, and of the answers that its client reads.

/** The weight of what a client does not read (RFC 9110, 12.4.2). */
const never = String.raw`\s*;\s*q=0(?:\.0*)?\s*(?:[,;]|$)`;
const json = new RegExp(String.raw`application/(?:json|\*)(?!${never})`, "i");
const eventStream = new RegExp(String.raw`(?:text/(?:event-stream|\*)|\*/\*)(?!${never})`, "i");
const named = new RegExp(`text/event-stream(?!${never})`, "i");
const namedFirst = new RegExp(`^${named.source}`, "i");
const ruledOut = new RegExp(`text/event-stream${never}`, "i");

/** The failure of a request whose headers rule out reading it; null if it can be read. */
export function unacceptable(headers: Headers): Failure | null {
  const unread = unreadableAs(headers);
  if (unread !== null) return new Failure("unsupported-media", unread);
  // Bun takes them for the next request, and drops the connection before the call could be answered.
  if (headers.has("trailer")) return new Failure("invalid-request", "Send the message without trailers: none is read.");
  if (json.test(headers.get("accept") ?? "") || takesEvents(headers)) return null;
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
  if (takesEvents(headers)) return;
  throw new Failure("invalid-request", "GET opens an event stream: send Accept: text/event-stream.");
}

/**
 * Whether a client reads event streams: one without Accept does (RFC 9110, 12.5.1), one that names only JSON does not.
 */
export function takesEvents(headers: Headers): boolean {
  const accept = headers.get("accept");
  return accept === null || (eventStream.test(accept) && !ruledOut.test(accept));
}

/** Whether a client names event streams, as every client of streamable HTTP must, so that a slow answer may be one. */
export function namesEvents(headers: Headers): boolean {
  return named.test(headers.get("accept") ?? "");
}

/** Whether a client names event streams first: it wants a stream that it can come back to, even for a silent call. */
export function prefersEvents(headers: Headers): boolean {
  return namedFirst.test(headers.get("accept") ?? "");
}
