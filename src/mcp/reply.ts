import type { Reply } from "../core/call.ts";
import type { Failure } from "../core/failure.ts";
import type { Era, Inbound, Span } from "../core/inbound.ts";
import { isExtensionNotification } from "../core/methods.ts";
import { editMembers, editObject } from "./edit.ts";
import { errorBetween } from "./error-code.ts";
import {
  closeArray,
  locate,
  mayHold,
  type Member,
  members,
  openObject,
  skipSpace,
  stringAt,
  stringValue,
} from "./json-text.ts";
import { forNextHop, hopMeta, type Implementation, implementationText, limitKey, serverInfoKey } from "./meta.ts";
import { specOf, type Shape } from "./methods.ts";
import { notificationText } from "./outbound.ts";

/** Returns a JSON-RPC response; both arguments are raw JSON. */
export function resultMessage(idText: string | null, result: string): string {
  return `{"jsonrpc":"2.0","id":${idText},"result":${result}}`;
}

/** Returns a JSON-RPC error; the id is null only if the request's id could not be read. */
export function errorMessage(
  idText: string | null,
  code: number,
  message: string,
  data?: Record<string, unknown>,
): string {
  return errorText(idText, JSON.stringify({ code, message, data }));
}

const errorText = (idText: string | null, error: string): string => `{"jsonrpc":"2.0","id":${idText},"error":${error}}`;

/** Returns the message that reports a failure: for a tool call a result that an agent can act on, else an error. */
export function failureMessage(
  failure: Failure,
  inbound: Inbound | null,
  server: Implementation | null = null,
): string {
  const idText = inbound?.idText ?? null;
  if (idText !== null && inbound && answersAsTool(failure, inbound)) {
    return resultMessage(idText, toolFailure(failure, inbound.era, server));
  }
  const { retryAfterMs, data, refusal } = failure.detail;
  if (refusal !== undefined && inbound?.era === "legacy") {
    const { uri } = inbound.params;
    return errorText(idText, errorBetween(refusal, "legacy", "legacy", typeof uri === "string" ? uri : null));
  }
  // A limit without a retry time allows no calls at all.
  const isBarred = failure.code === "rate-limited" && retryAfterMs === undefined;
  const retry = failure.row.retryable && !isBarred && { retryable: true, retryAfterMs };
  const shown = data || retry ? { ...data, ...retry } : undefined;
  return errorMessage(idText, codeOf(failure, inbound), sentence(failure), shown);
}

/** A completion can also name a missing resource, but older revisions have a code for that in `resources/*` only. */
function codeOf({ row: { rpc, legacyRpc = rpc } }: Failure, inbound: Inbound | null): number {
  return inbound?.era === "legacy" && inbound.method.startsWith("resources/") ? legacyRpc : rpc;
}

function answersAsTool(failure: Failure, { kind, method, revision }: Inbound): boolean {
  if (failure.row.as !== "tool" || kind !== "request" || method !== "tools/call") return false;
  // Invalid arguments became tool errors in 2025-11-25.
  return failure.code !== "invalid-arguments" || (revision !== null && revision >= "2025-11-25");
}

/** Returns the result of a failed tool call, in a form that an agent can act on. */
export function toolFailure(failure: Failure, era: Era, server: Implementation | null): string {
  const { retryAfterMs, limit } = failure.detail;
  const limited = failure.code === "rate-limited" && { code: failure.code, limit, retryAfterMs };
  const meta = {
    ...(era === "modern" && server && { [serverInfoKey]: server }),
    ...(limited && { [limitKey]: limited }),
  };
  return JSON.stringify({
    ...(era === "modern" && { resultType: "complete" }),
    content: [{ type: "text", text: sentence(failure) }],
    isError: true,
    ...(Object.keys(meta).length > 0 && { _meta: meta }),
  });
}

/** Returns the failure's sentence. A denial always names the rule, even if its configured reason does not. */
function sentence({ message, detail }: Failure): string {
  return detail.rule === undefined || message.includes(detail.rule) ? message : `${message} (rule ${detail.rule})`;
}

/** Returns a progress notification under the caller's token; token and params are raw JSON. */
export function progressNotification(token: string, params: string): string {
  return notificationText("notifications/progress", forNextHop(params, null, [], { progressToken: token }));
}

/**
 * Rewrites a notification for another request of the same call: progress gets that request's token. Returns null for
 * progress and log messages that the request did not ask for, and for all others except those of extensions.
 */
export function underToken(
  notification: string,
  { progressToken, logLevel }: Pick<Inbound, "progressToken" | "logLevel">,
): string | null {
  const method = stringValue(notification, 0, "method") ?? "";
  if (method === "notifications/message") return logLevel === null ? null : notification;
  if (method !== "notifications/progress") return isExtensionNotification(method) ? notification : null;
  const params = locate(notification, 0, "params");
  if (!params || progressToken === null) return null;
  const edited = editObject(notification.slice(...params), { progressToken });
  return notification.slice(0, params[0]) + edited + notification.slice(params[1]);
}

/** Returns the response for a server's reply in the caller's era. `uri` is the wire URI of a requested resource. */
export function answerMessage(inbound: Inbound, reply: Reply, server: Implementation, uri: string | null): string {
  const { era, method, idText } = inbound;
  if (reply.kind === "error") {
    const read = method === "resources/read" ? uri : null;
    return errorText(idText, errorBetween(reply.text, reply.era, era, read));
  }
  return resultMessage(idText, shapeResult(reply, era, shapeOf(inbound, reply.type), server));
}

function shapeOf({ method, params }: Inbound, type: string | null): Shape {
  if (type === "input_required") return "round";
  if (type !== null) return "other";
  // The result of a retry depends on the answers, so like a list it must not be cached (2026-07-28, MRTR).
  if (method === "resources/read" && (params.inputResponses ?? params.requestState) !== undefined) return "list";
  return specOf(method)?.result ?? "extension";
}

/**
 * Translates a result for the caller's era, raw JSON in and out. Only top-level members change. Reserved `_meta` keys
 * are set by the gateway, never taken from an upstream.
 */
function shapeResult(reply: Pick<Reply, "text" | "era">, to: Era, shape: Shape, server: Implementation): string {
  const { text: result, era: from } = reply;
  if (shape === "own" || (from === "legacy" && to === "legacy" && !mayHold(result, "_meta"))) return result;
  const all = members(result);
  const meta = valueOf(all, "_meta");
  const stamps = to === "modern" ? [`"${serverInfoKey}":${implementationText(server)}`] : [];
  const edits: Record<string, string | null> = {};
  if (meta || stamps.length > 0) edits._meta = hopMeta(result, meta, null, stamps);
  if (to === "modern") {
    const type = valueOf(all, "resultType");
    if (from === "legacy" || !isPresent(result, type)) edits.resultType = '"complete"';
    Object.assign(edits, cacheHints(result, from, shape, all));
  } else if (from === "modern") {
    Object.assign(edits, shape === "extension" ? { resultType: null } : newMembers);
    if (shape === "call") Object.assign(edits, objectsOnly(result, all));
  }
  return editMembers(result, all, edits);
}

const valueOf = (all: readonly Member[], key: string): Span | null =>
  all.find((each) => each.key === key)?.value ?? null;

/** Some servers write null for what they do not say. */
const isPresent = (result: string, value: Span | null): value is Span =>
  value !== null && !result.startsWith("null", value[0]);

/** Members that no legacy revision has. */
const newMembers = { resultType: null, ttlMs: null, cacheScope: null } as const;
const milliseconds = /^\d{1,15}$/;

/** What a caller sees depends on its rights, so no shared cache may store it; requests for input are never cached. */
function cacheHints(result: string, from: Era, shape: Shape, all: readonly Member[]): Record<string, string | null> {
  if (shape === "round") return { ttlMs: null, cacheScope: null };
  if (shape !== "list" && shape !== "read") return otherHints(result, from, shape, all);
  const given = shape === "read" && from === "modern" ? valueOf(all, "ttlMs") : null;
  const ttl = given ? result.slice(...given) : "0";
  return { ttlMs: milliseconds.test(ttl) ? ttl : "0", cacheScope: '"private"' };
}

/**
 * Only an extension knows which of its results need cache hints (those of skills do), and clients refuse such a result
 * without them. So a result of an older server, which has none, gets hints that forbid caching.
 */
function otherHints(result: string, from: Era, shape: Shape, all: readonly Member[]): Record<string, string | null> {
  const scopes = all.filter(({ key }) => key === "cacheScope").map(({ value }) => stringAt(result, value));
  if (scopes.length > 0) return scopes.includes("public") ? { cacheScope: '"private"' } : {};
  const isBare = shape === "extension" && from === "legacy" && !valueOf(all, "ttlMs");
  return isBare ? { ttlMs: "0", cacheScope: '"private"' } : {};
}

/** Before 2026-07-28, structured content must be an object: others are removed, or fill an empty `content` as text. */
function objectsOnly(result: string, all: readonly Member[]): Record<string, string | null> {
  const structured = valueOf(all, "structuredContent");
  if (!structured || result.charCodeAt(structured[0]) === openObject) return {};
  const content = valueOf(all, "content");
  const filled = isPresent(result, content) && result.charCodeAt(skipSpace(result, content[0] + 1)) !== closeArray;
  if (filled) return { structuredContent: null };
  const text = JSON.stringify(result.slice(structured[0], structured[1]));
  return { structuredContent: null, content: `[{"type":"text","text":${text}}]` };
}
