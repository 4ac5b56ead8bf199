import type { Failure } from "../core/failure.ts";
import type { Era, Inbound, Span } from "../core/inbound.ts";
import { editMembers, editObject } from "./edit.ts";
import { closeArray, locate, openObject, skipSpace } from "./json-text.ts";
import { hopMeta, type Implementation, implementationText, serverInfoKey } from "./meta.ts";
import { members } from "./scan.ts";

/** A JSON-RPC response; both are raw JSON. */
export function resultMessage(idText: string, result: string): string {
  return `{"jsonrpc":"2.0","id":${idText},"result":${result}}`;
}

/** A JSON-RPC error; the id is null only where the request's could not be read. */
export function errorMessage(
  idText: string | null,
  code: number,
  message: string,
  data?: Record<string, unknown>,
): string {
  return `{"jsonrpc":"2.0","id":${idText},"error":${JSON.stringify({ code, message, data })}}`;
}

/**
 * A JSON-RPC error around the `error` object that an upstream sent. Codes that mean something on its hop only
 * (-32099 to -32000: headers, versions, capabilities, sessions) become -32603.
 */
export function rawErrorMessage(idText: string | null, error: string): string {
  const at = locate(error, 0, "code");
  const code = at ? Number(error.slice(at[0], at[1])) : 0;
  const hop = code >= -32099 && code <= -32000;
  return `{"jsonrpc":"2.0","id":${idText},"error":${hop ? editObject(error, { code: "-32603", data: null }) : error}}`;
}

/** What the caller reads of a failure: a result that an agent can act on where a tool was called, else an error. */
export function failureMessage(
  failure: Failure,
  inbound: Inbound | null,
  idText: string | null,
  server: Implementation | null = null,
): string {
  if (idText !== null && inbound && answersAsTool(failure, inbound)) {
    return resultMessage(idText, toolFailure(failure, inbound.era, server));
  }
  const { retryAfterMs, data } = failure.detail;
  const retry = failure.row.retryable ? { retryable: true, ...(retryAfterMs !== undefined && { retryAfterMs }) } : null;
  const shown = data || retry ? { ...data, ...retry } : undefined;
  return errorMessage(idText, failure.row.rpc, sentence(failure), shown);
}

function answersAsTool(failure: Failure, { kind, method, revision }: Inbound): boolean {
  if (failure.row.as !== "tool" || kind !== "request" || method !== "tools/call") return false;
  // Wrong arguments became tool errors with 2025-11-25.
  return failure.code !== "invalid-arguments" || (revision !== null && revision >= "2025-11-25");
}

function toolFailure(failure: Failure, era: Era, server: Implementation | null): string {
  const { retryAfterMs, limit } = failure.detail;
  const limited = failure.code === "rate-limited" && { code: failure.code, limit, retryAfterMs: retryAfterMs ?? 0 };
  const meta = {
    ...(era === "modern" && server && { [serverInfoKey]: server }),
    ...(limited && { "mcpgw.dev/limit": limited }),
  };
  return JSON.stringify({
    ...(era === "modern" && { resultType: "complete" }),
    content: [{ type: "text", text: sentence(failure) }],
    isError: true,
    ...(Object.keys(meta).length > 0 && { _meta: meta }),
  });
}

/** The failure's sentence, which for a denial names the rule even where its author did not. */
function sentence({ message, detail }: Failure): string {
  return detail.rule === undefined || message.includes(detail.rule) ? message : `${message} (rule ${detail.rule})`;
}

/** The progress of a call towards its caller, under the caller's token (raw JSON). */
export function progressNotification(token: string, params: Record<string, unknown> | string): string {
  const text = typeof params === "string" ? params : JSON.stringify(params);
  const meta = locate(text, 0, "_meta");
  const edits = { progressToken: token, ...(meta && { _meta: hopMeta(text, meta, null, []) }) };
  return `{"jsonrpc":"2.0","method":"notifications/progress","params":${editObject(text, edits)}}`;
}

/**
 * A result as the caller's era expects it, raw JSON in and out; only top-level members change. Reserved `_meta` keys
 * are ours to set, never an upstream's.
 */
export function shapeResult(
  result: string,
  from: Era,
  to: Era,
  kind: "call" | "list" | "other",
  server: Implementation,
): string {
  if (from === "legacy" && to === "legacy" && !mayHold(result, "_meta")) return result;
  const all = members(result);
  const found = new Map(all.map(({ key, value }) => [key, value]));
  const meta = found.get("_meta") ?? null;
  const stamps = to === "modern" ? [`"${serverInfoKey}":${implementationText(server)}`] : [];
  const edits: Record<string, string | null> = {};
  if (meta || stamps.length > 0) edits._meta = hopMeta(result, meta, null, stamps);
  if (to === "modern") {
    if (from === "legacy" || !found.has("resultType")) edits.resultType = '"complete"';
    // What a caller is shown depends on its rights, so no cache may share it.
    if (kind === "list") Object.assign(edits, { ttlMs: "0", cacheScope: '"private"' });
  } else if (from === "modern") {
    Object.assign(edits, { resultType: null, ttlMs: null, cacheScope: null });
    if (kind === "call") Object.assign(edits, objectsOnly(result, found));
  }
  return editMembers(result, all, edits);
}

/** False only when no key of the text is `key`; much faster than reading the members of a large result. */
function mayHold(text: string, key: string): boolean {
  return text.includes(key) || text.includes("\\u");
}

/** Before 2026-07-28 structured content was an object; what is none becomes text unless the result has content. */
function objectsOnly(result: string, found: ReadonlyMap<string, Span>): Record<string, string | null> {
  const structured = found.get("structuredContent");
  if (!structured || result.charCodeAt(structured[0]) === openObject) return {};
  const content = found.get("content");
  const filled = content && result.charCodeAt(skipSpace(result, content[0] + 1)) !== closeArray;
  if (filled) return { structuredContent: null };
  const text = JSON.stringify(result.slice(structured[0], structured[1]));
  return { structuredContent: null, content: `[{"type":"text","text":${text}}]` };
}
