import { isObject } from "../core/json.ts";
import { copied } from "../core/text.ts";
import { rawValue } from "./json-text.ts";
import { isId } from "./message.ts";
import { type ScanLimits, scan, Unscannable } from "./scan.ts";

/** One message from an upstream. `result`, `error` and `idText` are raw text, so they can be passed on unchanged. */
export type UpstreamMessage =
  | {
      readonly kind: "result";
      /** In the gateway's spelling, if the id can be one of the gateway's. */
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
      /** What is wrong, as a phrase about the answer to a request. */
      readonly ofAnswer: string;
      /** The exceeded limit; null if the message is invalid for another reason. */
      readonly limit: string | null;
    };

/**
 * Parses one message from an upstream. Never throws, since an upstream may break the protocol. A null member counts as
 * absent, because some servers write every member they know.
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
 * Returns the id of an answer in the spelling of the gateway, whose ids are whole numbers, or null if it cannot be one
 * of them. Some servers repeat 1 as `1.0` or `"1"`, and the official SDKs accept both.
 */
export function ownId(id: unknown): string | null {
  if (Number.isSafeInteger(id)) return String(id);
  return typeof id === "string" && digits.test(id) ? id : null;
}

/** Maximum number of characters around a part of a message that may stay in memory along with it. */
const maxSurroundingLength = 4096;

/**
 * Returns a part of a message that may have to wait for a client. Only the part's own length is counted, so it is
 * copied if it would keep much more text in memory.
 */
const cutOut = (text: string, part: string): string =>
  text.length - part.length > maxSurroundingLength ? copied(part) : part;

function readMethod(text: string, message: Record<string, unknown>, idText: string | null): UpstreamMessage {
  const { method } = message;
  const params = message.params ?? {};
  if (typeof method !== "string") return invalid("a method that is not a string");
  if (!isObject(params)) return invalid("params that are not an object");
  const paramsText = message.params ? cutOut(text, rawValue(text, 0, "params") ?? "{}") : "{}";
  if (idText !== null) return { kind: "request", idText: cutOut(text, idText), method, paramsText };
  // The sender of such a message may wait for an answer, so it is not a notification.
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
  if (!isObject(result)) return invalid("a result that is not an object");
  const { isError, resultType = null } = result;
  if (resultType !== null && typeof resultType !== "string") return invalid("a resultType that is not a string");
  return { kind: "result", idText, result: rawValue(text, 0, "result") ?? "", isError: isError === true, resultType };
}

const invalid = (reason: string): UpstreamMessage => ({
  kind: "invalid",
  reason,
  ofAnswer: `its answer has ${reason}`,
  limit: null,
});
