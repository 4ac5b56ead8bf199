import { Failure } from "../core/failure.ts";
import type { Inbound, Span } from "../core/inbound.ts";
import { isJson, isObject } from "../core/json.ts";
import {
  elements,
  literalEnd,
  locate,
  openArray,
  openObject,
  quote,
  rawValue,
  skipSpace,
  stringValue,
} from "./json-text.ts";
import { subscriptionIdKey } from "./meta.ts";
import { type Outline, outline } from "./outline.ts";
import { type ScanLimits, scan } from "./scan.ts";
import { whyNoJson } from "./utf8.ts";

/** One JSON-RPC message of correct shape, not yet checked against MCP. */
export type RpcMessage = Pick<Inbound, "kind" | "text" | "values" | "idText" | "method" | "params"> & {
  readonly outline: Outline;
};

/** Longest id or progress token, in characters; both are kept while a request runs. */
export const longestId = 1024;
/**
 * Bytes that a transport accepts beyond the limit for a body or result. A message that is only a little too long is
 * then refused under its id, not dropped.
 */
export const headroom = 64 * 1024;
/** JSON Schema calls `1.0` an integer too, and languages whose numbers all are floating point write it so. */
const integer = /^-?(?:0|[1-9][0-9]*)(?:\.0+)?$/;
const noParams: Readonly<Record<string, unknown>> = Object.freeze({});

/** Whether the raw text is an id as MCP allows it: a string or an integer. */
export function isId(raw: string): boolean {
  return raw.length <= longestId && (raw.charCodeAt(0) === quote || integer.test(raw));
}

/** Whether a text is an array: a batch of messages (JSON-RPC 2.0 §6). */
export function isBatch(text: string): boolean {
  return text.charCodeAt(skipSpace(text, 0)) === openArray;
}

/**
 * Splits a batch into its messages, as they were written. Throws `parse-error` for invalid JSON, `invalid-request` for
 * an empty array, more than `most` messages and what `scan` refuses.
 */
export function splitBatch(text: string, limits: ScanLimits, most: number): string[] {
  scan(text, { ...limits, depth: limits.depth + 1 });
  const all = parse(text);
  if (!Array.isArray(all) || all.length === 0) throw invalid("The batch is empty; send at least one message.");
  if (all.length > most) {
    throw invalid(`The batch holds ${all.length} messages, but limits.batch allows ${most}; send fewer at once.`);
  }
  return membersOf(text);
}

/** The members of an array as they were written, up to where the text becomes invalid. */
const membersOf = (text: string): string[] =>
  elements(text, skipSpace(text, 0)).map(([start, end]) => text.slice(start, end));

/** The ids of the requests or of the responses in a text, as written; it may be a message, a batch, or neither. */
export function idsIn(text: string, of: "requests" | "responses"): string[] {
  return (isBatch(text) ? membersOf(text) : [text]).flatMap((one) => {
    const id = idOf(one);
    return id === null || (locate(one, 0, "method") === null) !== (of === "responses") ? [] : [id];
  });
}

/** Checks depth, duplicate keys, JSON and JSON-RPC shape of one message; throws `parse-error` or `invalid-request`. */
export function parseMessage(text: string, limits: ScanLimits): RpcMessage {
  if (isBatch(text)) {
    throw invalid("The message is an array; send one JSON-RPC message per request, batches ended with 2025-03-26.");
  }
  const values = scan(text, limits);
  const message = parse(text);
  if (!isObject(message)) throw invalid("The message is no JSON object; send one JSON-RPC 2.0 message.");
  if (message.jsonrpc !== "2.0") throw invalid('The message has no "jsonrpc": "2.0".');
  const parts = outline(text);
  const isResponse = message.method === undefined;
  // Who could read no id answers with null in its place (JSON-RPC 2.0 §5).
  const idText = parts.id && !(isResponse && message.id === null) ? readId(text.slice(...parts.id)) : null;
  if (isResponse) return readResponse(message, { text, values, idText, outline: parts });
  if (typeof message.method !== "string") throw invalid('"method" is not a string.');
  if (message.result !== undefined || message.error !== undefined) {
    throw invalid('The message has a "method" and a "result" or "error"; it is a request or a response, not both.');
  }
  const params = message.params ?? noParams;
  if (!isObject(params)) throw invalid('"params" is not an object; MCP passes parameters by name.');
  return {
    kind: idText === null ? "notification" : "request",
    text,
    values,
    idText,
    method: message.method,
    params,
    outline: parts,
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Failure("parse-error", whyNoJson(text));
  }
}

function readId(raw: string): string {
  if (isId(raw)) return raw;
  throw invalid(`"id" is neither a string nor an integer of at most ${longestId} characters.`);
}

function readResponse(
  message: Record<string, unknown>,
  common: Pick<RpcMessage, "text" | "values" | "idText" | "outline">,
): RpcMessage {
  const isResult = isObject(message.result);
  if (isResult === isObject(message.error)) {
    throw invalid('The message has neither a "method" nor exactly one of the objects "result" and "error".');
  }
  if (isResult && common.idText === null) throw invalid('The response has no "id".');
  return { ...common, kind: "response", method: "", params: noParams };
}

const invalid = (message: string): Failure => new Failure("invalid-request", message);

/** The id of a message, as written, to be repeated in an error. The text may be anything; null if no id can be read. */
export function idOf(text: string): string | null {
  const at = skipSpace(text, 0);
  if (text.charCodeAt(at) !== openObject) return null;
  // The whole text is searched: the official SDKs write the id last.
  const span = locate(text, at, "id");
  // At the end of the text, or before any other character, the value may be incomplete.
  if (!span || span[1] === text.length || literalEnd(text, span[1]) !== span[1]) return null;
  const raw = text.slice(span[0], span[1]);
  return isId(raw) && isJson(raw) ? raw : null;
}

/** The one spelling by which ids are compared: a text may have been written with escapes, a number as `1.0`. */
export const plainId = (idText: string): string =>
  idText.includes("\\") ? JSON.stringify(JSON.parse(idText)) : idText.replace(/\.0+$/, "");

/** The raw text of a member of `params`, null if absent; for values that are compared by their text, such as ids. */
export function paramText(inbound: Inbound, key: string): string | null {
  const at = inbound.spans.params;
  return at && Object.hasOwn(inbound.params, key) ? rawValue(inbound.text, at[0], key) : null;
}

/** The id, as written, of the request that a `notifications/cancelled` cancels; null for any other text. */
export const cancelledIn = (text: string): string | null =>
  idAt(text, "notifications/cancelled", ["params", "requestId"]);

/** The id, as written, of the request for a subscription that a text acknowledges; null for any other text. */
export const acknowledgedIn = (text: string): string | null =>
  idAt(text, "notifications/subscriptions/acknowledged", ["params", "_meta", subscriptionIdKey]);

/** The id that a message of this method has under these keys. */
function idAt(text: string, method: string, keys: readonly string[]): string | null {
  const start = skipSpace(text, 0);
  if (stringValue(text, start, "method") !== method) return null;
  let at: Span | null = [start, text.length];
  for (const key of keys) at = at && locate(text, at[0], key);
  const id = at && text.slice(at[0], at[1]);
  return id !== null && isId(id) && isJson(id) ? id : null;
}
