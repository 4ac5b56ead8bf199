import type { Era } from "../core/inbound.ts";
import { rpcCodes } from "../core/rpc-code.ts";
import { editObject } from "./edit.ts";
import { locate, rawValue } from "./json-text.ts";

/** Whether a code has a meaning on one hop only. */
const isHop = (code: number): boolean => code <= rpcCodes.headerMismatch && code >= rpcCodes.unsupportedVersion;
/** Whether 2026-07-28 leaves a code undefined, or froze it because older servers use it with meanings of their own. */
const isFrozen = (code: number): boolean => code <= rpcCodes.serverError && code >= -32099;

/**
 * Translates an upstream's `error` object into the caller's era; raw JSON in and out. A code that must not appear on
 * the caller's hop becomes that of an internal error. `uri` is the resource that the request reads or subscribes to;
 * null for all other requests.
 */
export function errorBetween(error: string, from: Era, to: Era, uri: string | null): string {
  const code = Number(rawValue(error, 0, "code") ?? 0);
  if (uri !== null && isNotFound(error, code, from))
    return notFound(error, from === to ? code : notFoundCodes[to], uri);
  if (from === "legacy" && to === "legacy" ? !isHop(code) : !isFrozen(code)) return error;
  const masked = { code: String(rpcCodes.internalError) };
  // Such data describes the upstream's hop, or asks the user to visit URLs, which only an elicitation may do.
  const isOwn = isHop(code) || code === rpcCodes.urlElicitation;
  return editObject(error, isOwn ? { ...masked, data: null } : masked);
}

/** Before 2026-07-28 a missing resource had its own code; since then it has `data.uri`. Some servers mix the two. */
const notFoundCodes: Readonly<Record<Era, number>> = {
  legacy: rpcCodes.resourceNotFound,
  modern: rpcCodes.invalidParams,
};

function isNotFound(error: string, code: number, from: Era): boolean {
  if (from === "legacy" && code === rpcCodes.resourceNotFound) return true;
  const data = code === rpcCodes.invalidParams ? locate(error, 0, "data") : null;
  return data !== null && locate(error, data[0], "uri") !== null;
}

function notFound(error: string, code: number, uri: string): string {
  const data = rawValue(error, 0, "data");
  const held = data?.startsWith("{") ? data : "{}";
  return editObject(error, { code: String(code), data: editObject(held, { uri: JSON.stringify(uri) }) });
}
