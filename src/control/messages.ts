import { isObject } from "../core/json.ts";
import { type ScanLimits, scan, Unscannable } from "../mcp/scan.ts";
import { Refusal } from "./refusal.ts";

// JSON-RPC 2.0, one message per line. The events of a stream are notifications with the id of its request.

export type Request = { readonly id: number | string; readonly method: string; readonly params: unknown };
export type FromClient = Request | { readonly id: null; readonly method: string; readonly params: unknown };

export type FromServer = {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string };
  readonly params?: { readonly id: number; readonly event?: unknown; readonly gap?: number };
};

/** Maximum length of a line from a client, in bytes. */
export const maxLine = 1 << 20;
/** Maximum length of an answer, in bytes; a listing may be long, and the daemon is trusted. */
export const maxAnswer = 32 << 20;

/** Bounds on a request. The arguments of a call are nested as deep here as in MCP, so no `limits.depth` allows more. */
const bounds: ScanLimits = { depth: 256, nodes: maxLine };

/** Reads one line from a client; throws `parse-error` or `invalid-request`. */
export function parseRequest(line: string): FromClient {
  let value: unknown;
  try {
    scan(line, bounds);
    value = JSON.parse(line);
  } catch (error) {
    if (error instanceof Unscannable) throw new Refusal("invalid-request", error.message);
    throw new Refusal(
      "parse-error",
      "this line is not valid JSON; the control socket speaks JSON-RPC 2.0, one message per line",
    );
  }
  if (!isObject(value) || value["jsonrpc"] !== "2.0" || typeof value["method"] !== "string")
    throw new Refusal("invalid-request", "a message must be a JSON-RPC 2.0 request or notification with a method");
  const { id, method, params = {} } = value;
  if (id === undefined) return { id: null, method, params };
  if (typeof id === "string" || Number.isSafeInteger(id)) return { id: id as number | string, method, params }; // checked just now
  throw new Refusal("invalid-request", "an id must be a string or an integer");
}

/** Returns the line with the answer to a request. */
export const answer = (id: number | string, result: unknown): string => JSON.stringify({ jsonrpc: "2.0", id, result });

/** Returns the refusal of a request; the id is null if it could not be read. */
export const refusal = (id: number | string | null, error: Refusal): string =>
  JSON.stringify({ jsonrpc: "2.0", id, error: { code: error.rpc, message: error.message } });

/** Returns an event of a stream, or its number of skipped events; `id` is the id of the request that opened it. */
export const event = (id: number | string, value: unknown): string => {
  const params = isObject(value) && "gap" in value ? { id, gap: value["gap"] } : { id, event: value };
  return JSON.stringify({ jsonrpc: "2.0", method: "event", params });
};

/** Returns the line with a request of a client. */
export const request = (id: number, method: string, params: unknown): string =>
  JSON.stringify({ jsonrpc: "2.0", id, method, params });

/** Returns the notification that the client no longer wants the answer to a request. */
export const cancel = (id: number): string => JSON.stringify({ jsonrpc: "2.0", method: "cancel", params: { id } });

/** Returns the line that gives the reason for closing a tunnel: a JSON string, which is never an MCP message. */
export const lastWord = (why: string): string => JSON.stringify(why);

/**
 * The line that says in a tunnel that the client has sent everything and reads until the tunnel is closed. It has the
 * same effect if the MCP client itself writes it.
 */
export const farewell = JSON.stringify("The client has sent everything.");

/** Returns the reason in a line of `lastWord`; null for any other line. */
export const readLastWord = (line: string): string | null => (line.startsWith('"') ? String(JSON.parse(line)) : null);
