import { failures } from "../core/failure.ts";
import type { Era } from "../core/inbound.ts";
import { editObject } from "./edit.ts";
import { locate } from "./json-text.ts";

/** How a legacy server asks for URLs to be visited before the call is made again (2025-11-25, URL elicitation). */
export const urlElicitation = -32042;
/** How a modern server refuses a request: its headers, what the client declared, its revision (2026-07-28). */
export const hopCodes = {
  headers: failures["header-mismatch"].rpc,
  capability: failures["missing-capability"].rpc,
  version: failures["unsupported-version"].rpc,
} as const;
const resourceNotFound = -32002;
const invalidParams = -32602;
const sessionNotFound = -32001;
const internalError = "-32603";

/** Codes that mean something on one hop only. */
const isHop = (code: number): boolean => code <= hopCodes.headers && code >= hopCodes.version;
/** What 2026-07-28 leaves undefined, and what it froze because older servers use it in their own ways. */
const isFrozen = (code: number): boolean => code <= -32000 && code >= -32099;

/**
 * The `error` object of an upstream as the caller's era expects it; raw JSON in and out. What belongs to the upstream's
 * hop becomes -32603 without data. `uri` is that of the resource which was read, null for all other requests.
 */
export function errorBetween(error: string, from: Era, to: Era, uri: string | null): string {
  const code = codeOf(error);
  if (uri !== null && isNotFound(error, code, from)) return notFound(error, to, uri);
  const kept = from === "legacy" && to === "legacy" ? code !== sessionNotFound && !isHop(code) : !isFrozen(code);
  return kept ? error : editObject(error, { code: internalError, data: null });
}

function codeOf(error: string): number {
  const at = locate(error, 0, "code");
  return at ? Number(error.slice(...at)) : 0;
}

function isNotFound(error: string, code: number, from: Era): boolean {
  if (from === "legacy") return code === resourceNotFound;
  const data = code === invalidParams ? locate(error, 0, "data") : null;
  return data !== null && locate(error, data[0], "uri") !== null;
}

/** A missing resource has a code of its own before 2026-07-28, and `data.uri` since. */
function notFound(error: string, to: Era, uri: string): string {
  const code = to === "legacy" ? resourceNotFound : invalidParams;
  const data = locate(error, 0, "data");
  const held = data && error.startsWith("{", data[0]) ? error.slice(...data) : "{}";
  return editObject(error, { code: String(code), data: editObject(held, { uri: JSON.stringify(uri) }) });
}
