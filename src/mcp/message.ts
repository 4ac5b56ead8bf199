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

/** One well-formed JSON-RPC message, not yet checked against MCP. */
export type RpcMessage = Pick<Inbound, "kind" | "text" | "values" | "idText" | "method" | "params"> & {
  readonly outline: Outline;
};

/** Maximum length of an id or progress token, in characters; both are kept while a request runs. */
export const maxIdLength = 1024;
/** Bytes that transports accept beyond a size limit, so that a slightly larger message is refused under its id. */
export const headroom = 64 * 1024;
/** `1.0` is an integer too in JSON Schema, and languages that have only floating-point numbers write it this way. */
const integer = /^-?(?:0|[1-9][0-9]*)(?:\.0+)?$/;
const noParams: Readonly<Record<string, unknown>> = Object.freeze({});

/** Whether raw text is an id that MCP allows: a string or an integer. */
export function isId(raw: string): boolean {
  return raw.length <= maxIdLength && (raw.charCodeAt(0) === quote || integer.test(raw));
}

/** Whether a text is an array, that is, a batch of messages (JSON-RPC 2.0 §6). */
export function isBatch(text: string): boolean {
  return text.charCodeAt(skipSpace(text, 0)) === openArray;
}

/**
 * Splits a batch into its messages as written. Throws `parse-error` for invalid JSON, and `invalid-request` for an
 * empty array, more than `most` messages or a text that `scan` refuses.
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

/** Returns the elements of an array as written, up to where the text becomes invalid. */
const membersOf = (text: string): string[] =>
  elements(text, skipSpace(text, 0)).map(([start, end]) => text.slice(start, end));

/** Returns the ids, as written, of the requests or responses in a text, which need not be a message or a batch. */
export function idsIn(text: string, of: "requests" | "responses"): string[] {
  return (isBatch(text) ? membersOf(text) : [text]).flatMap((one) => {
    const id = idOf(one);
    return id === null || (locate(one, 0, "method") === null) !== (of === "responses") ? [] : [id];
  });
}

/** Parses a message and checks depth, duplicate keys and JSON-RPC shape; throws `parse-error` or `invalid-request`. */
export function parseMessage(text: string, limits: ScanLimits): RpcMessage {
  if (isBatch(text)) {
    throw invalid(
      "The message is an array; send one JSON-RPC message per request, since batches ended with 2025-03-26.",
    );
  }
  const values = scan(text, limits);
  const message = parse(text);
  if (!isObject(message)) throw invalid("The message is not a JSON object; send one JSON-RPC 2.0 message.");
  if (message.jsonrpc !== "2.0") throw invalid('The message has no "jsonrpc": "2.0".');
  const parts = outline(text);
  const isResponse = message.method === undefined;
  // A peer that could not read the id answers with null (JSON-RPC 2.0 §5).
  const idText = parts.id && !(isResponse && message.id === null) ? readId(text.slice(...parts.id)) : null;
  if (isResponse) return readResponse(message, { text, values, idText, outline: parts });
  if (typeof message.method !== "string") throw invalid('"method" is not a string.');
  if (message.result !== undefined || message.error !== undefined) {
    throw invalid('The message has a "method" and a "result" or "error"; send a request or a response, not both.');
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
  throw invalid(`"id" is neither a string nor an integer of at most ${maxIdLength} characters.`);
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

/** Returns the id of a message as written, for use in an error, or null if it has no readable id. Accepts any text. */
export function idOf(text: string): string | null {
  const at = skipSpace(text, 0);
  if (text.charCodeAt(at) !== openObject) return null;
  // The whole text is searched, because the official SDKs write the id last.
  const span = locate(text, at, "id");
  // A value at the end of the text, or not followed by a delimiter, may be incomplete.
  if (!span || span[1] === text.length || literalEnd(text, span[1]) !== span[1]) return null;
  const raw = text.slice(span[0], span[1]);
  return isId(raw) && isJson(raw) ? raw : null;
}

/** Returns the canonical spelling by which ids are compared: a string may have escapes, and 1 may be sent as `1.0`. */
export const plainId = (idText: string): string =>
  idText.includes("\\") ? JSON.stringify(JSON.parse(idText)) : idText.replace(/\.0+$/, "");

/** Returns the raw text of a member of `params`, or null; for values that are compared as text, such as ids. */
export function paramText(inbound: Inbound, key: string): string | null {
  const at = inbound.spans.params;
  return at && Object.hasOwn(inbound.params, key) ? rawValue(inbound.text, at[0], key) : null;
}

/** Returns the id, as written, of the request that a `notifications/cancelled` cancels; null for any other text. */
export const cancelledIn = (text: string): string | null =>
  idAt(text, "notifications/cancelled", ["params", "requestId"]);

/** Returns the id, as written, of the subscription request that a text acknowledges; null for any other text. */
export const acknowledgedIn = (text: string): string | null =>
  idAt(text, "notifications/subscriptions/acknowledged", ["params", "_meta", subscriptionIdKey]);

/** Returns the id at the path `keys` of a message with this method, or null. */
function idAt(text: string, method: string, keys: readonly string[]): string | null {
  const start = skipSpace(text, 0);
  if (stringValue(text, start, "method") !== method) return null;
  let at: Span | null = [start, text.length];
  for (const key of keys) at = at && locate(text, at[0], key);
  const id = at && text.slice(at[0], at[1]);
  return id !== null && isId(id) && isJson(id) ? id : null;
}
