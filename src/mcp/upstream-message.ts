import { isObject } from "../core/json.ts";
import { copied } from "../core/text.ts";
import { rawValue } from "./json-text.ts";
import { isId } from "./message.ts";
import { type ScanLimits, scan, Unscannable } from "./scan.ts";

/** One message from an upstream. `result`, `error` and `idText` are raw text, so that they are passed on unchanged. */
export type UpstreamMessage =
  | {
      readonly kind: "result";
      /** In the gateway's own spelling, if the id can be one of its own. */
      readonly idText: string;
      readonly result: string;
      readonly isError: boolean;
      /** Null if absent, as in revisions before 2026-07-28. */
      readonly resultType: string | null;
    }
  | {
      readonly kind: "error";
      /** Null if the upstream could not read the request's id. */
      readonly idText: string | null;
      readonly error: string;
      readonly code: number;
      readonly message: string;
      readonly data: unknown;
    }
  | {
      readonly kind: "notification";
      readonly method: string;
      readonly params: Record<string, unknown>;
      /** `params` as it was written, `{}` if absent. */
      readonly paramsText: string;
    }
  | { readonly kind: "request"; readonly idText: string; readonly method: string; readonly paramsText: string }
  | {
      readonly kind: "invalid";
      readonly reason: string;
      /** What is wrong, in words for an answer to a request. */
      readonly ofAnswer: string;
      /** The exceeded limit; null if it is not a valid message. */
      readonly limit: string | null;
    };

/**
 * Reads one message from an upstream. The upstream is not trusted to follow the protocol; never throws. A member that
 * is null counts as absent, since there are servers that write each one they know.
 */
export function readUpstream(text: string, limits: ScanLimits): UpstreamMessage {
  let message: unknown;
  try {
    scan(text, limits);
    message = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof Unscannable)) return invalid("no valid JSON");
    return { kind: "invalid", reason: error.what, ofAnswer: `its answer: ${error.what}`, limit: error.limit };
  }
  if (!isObject(message)) return invalid("no JSON object");
  if (message.jsonrpc !== "2.0") return invalid('no "jsonrpc": "2.0"');
  const { id = null, method = null, result = null, error = null } = message;
  const own = method === null ? ownId(id) : null;
  const idText = own ?? (id === null ? null : rawValue(text, 0, "id"));
  if (idText !== null && !isId(idText)) return invalid("an id that is neither a string nor an integer");
  if (method !== null) {
    if (result !== null || error !== null) return invalid("a method and a result or error");
    return readMethod(text, message, idText);
  }
  if (result !== null && error !== null) return invalid("both a result and an error");
  return error === null ? readResult(text, result, idText) : readError(text, error, idText);
}

const digits = /^\d{1,15}$/;

/**
 * The id of an answer in the spelling of the gateway, whose ids are whole numbers; null if it can be none of them.
 * There are servers that repeat 1 as `1.0` or `"1"`, and the official SDKs take both.
 */
export function ownId(id: unknown): string | null {
  if (Number.isSafeInteger(id)) return String(id);
  return typeof id === "string" && digits.test(id) ? id : null;
}

/** Characters of a message besides one part of it that may stay in memory with that. */
const mostBesides = 4096;

/**
 * A part of a message that may have to wait for a client, and then counts by its length: it is copied where it would
 * keep much more in memory.
 */
const cutOut = (text: string, part: string): string => (text.length - part.length > mostBesides ? copied(part) : part);

function readMethod(text: string, message: Record<string, unknown>, idText: string | null): UpstreamMessage {
  const { method } = message;
  const params = message.params ?? {};
  if (typeof method !== "string") return invalid("a method that is no string");
  if (!isObject(params)) return invalid("params that are no object");
  const paramsText = message.params ? cutOut(text, rawValue(text, 0, "params") ?? "{}") : "{}";
  if (idText !== null) return { kind: "request", idText: cutOut(text, idText), method, paramsText };
  // Nobody waits for an answer to a notification, but the sender of this may.
  if (message.id === null && !method.startsWith("notifications/")) return invalid("a request whose id is null");
  return { kind: "notification", method, params, paramsText };
}

function readError(text: string, error: unknown, idText: string | null): UpstreamMessage {
  if (!isObject(error) || !Number.isInteger(error.code) || typeof error.message !== "string") {
    return invalid("an error without an integer code and a message");
  }
  const { message, data } = error;
  return { kind: "error", idText, error: rawValue(text, 0, "error") ?? "", code: Number(error.code), message, data };
}

function readResult(text: string, result: unknown, idText: string | null): UpstreamMessage {
  if (result === null) return invalid("neither a method nor a result nor an error");
  if (idText === null) return invalid("a result without an id");
  if (!isObject(result)) return invalid("a result that is no object");
  const { isError, resultType = null } = result;
  if (resultType !== null && typeof resultType !== "string") return invalid("a resultType that is no string");
  return { kind: "result", idText, result: rawValue(text, 0, "result") ?? "", isError: isError === true, resultType };
}

const invalid = (reason: string): UpstreamMessage => ({
  kind: "invalid",
  reason,
  ofAnswer: `its answer has ${reason}`,
  limit: null,
});
