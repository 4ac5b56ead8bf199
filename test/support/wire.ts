import type { Json } from "../../src/core/canonical.ts";
import { linesOf } from "./seen.ts";

type Members = Readonly<Record<string, unknown>>;

/** How a message is sent. */
export type Sending = {
  readonly key?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly path?: string;
  readonly signal?: AbortSignal;
};

/** Sends a message to a gateway and returns the response unread. */
export function send(url: string, body: unknown, { key, headers, path = "/mcp", signal }: Sending): Promise<Response> {
  return fetch(`${url}${path}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...(key !== undefined && { authorization: `Bearer ${key}` }),
      ...headers,
    },
    body: typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body),
    ...(signal && { signal }),
  });
}

/** Returns the headers for further requests in the session that `initialize` opened. */
export function sessionOf({ status, headers, text }: Answer, revision: string): Record<string, string> {
  const id = headers.get("mcp-session-id");
  if (status !== 200 || id === null) throw new Error(`initialize: ${status} ${text}`);
  return { "mcp-session-id": id, "mcp-protocol-version": revision };
}

/** An HTTP response with its body read; for an event stream, `json` is the last event and `events` has all of them. */
export type Answer = {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: unknown;
  readonly events: readonly unknown[];
};

export async function answerOf(response: Response): Promise<Answer> {
  const { status, headers } = response;
  const text = await response.text();
  const events = headers.get("content-type")?.startsWith("text/event-stream") ? dataOf(text) : [];
  return { status, headers, text, json: events.length > 0 ? events.at(-1) : parsed(text), events };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not every body is JSON; `text` has it.
    return null;
  }
}

const dataOf = (text: string): unknown[] =>
  text
    .split("\n")
    .filter((line) => line.startsWith("data:") && line.slice(5).trim() !== "")
    .map((line) => JSON.parse(line.slice(5)) as unknown);

/** Yields the events of a stream as they arrive; ends with the stream. */
export async function* eventsOf(response: Response): AsyncGenerator<unknown> {
  for await (const block of blocksOf(response)) yield* dataOf(block);
}

/** Yields the events as text; text without a final blank line is not an event. */
async function* blocksOf(response: Response): AsyncGenerator<string> {
  let block: string[] = [];
  for await (const line of linesOf(response.body)) {
    if (line !== "") block.push(line);
    else {
      yield block.join("\n");
      block = [];
    }
  }
}

/** One event as it arrived: its id and its message, if it has them. */
export type Event = { readonly id: string | null; readonly name: string | null; readonly data: unknown };

/** Yields events with their ids, including those without a message; ends with the stream, however it ends. */
export async function* numberedOf(response: Response): AsyncGenerator<Event, undefined> {
  const field = (block: string, name: string) => new RegExp(`^${name}: ?(.*)$`, "m").exec(block)?.[1] ?? null;
  try {
    for await (const block of blocksOf(response)) {
      if (block.startsWith(":")) continue;
      const data = field(block, "data");
      yield { id: field(block, "id"), name: field(block, "event"), data: data ? parsed(data) : null };
    }
  } catch {
    // The reader has disconnected, or the server cut it off.
  }
  return undefined;
}

/** Returns a value inside parsed JSON by its path, e.g. `result.content.0.text`; undefined if there is none. */
export function pick(json: unknown, path: string): unknown {
  let value = json;
  for (const key of path.split(".")) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Members)[key]; // a path may lead anywhere, and the value there is unknown
  }
  return value;
}

/** Returns the first text of a tool result. */
export function textIn(result: unknown): string {
  const text = pick(result, "content.0.text");
  return typeof text === "string" ? text : "";
}

/** Returns the first text of the tool result in an answer. */
export const textOf = (json: unknown): string => textIn(pick(json, "result"));

/** Returns the parsed first text of the tool result in an answer. */
export const resultOf = (json: unknown): unknown => JSON.parse(textOf(json));

/** Returns a JSON-RPC request. */
export const request = (method: string, params: Members = {}, id: unknown = 1) => ({
  jsonrpc: "2.0",
  id,
  method,
  params,
});

export const toolCall = (name: string, args: unknown = {}, id: unknown = 1) =>
  request("tools/call", { name, arguments: args }, id);

/** The header with which a client without a session names 2025-11-25. */
export const v2025 = { "mcp-protocol-version": "2025-11-25" };

const modernMeta = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "e2e", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};

/** A WebSocket to a gateway's address; Bun's WebSocket can send headers. */
export function openSocket(url: string, path: string, key: string, protocols: readonly string[] = []): WebSocket {
  const options = { headers: { authorization: `Bearer ${key}` }, protocols: [...protocols] };
  return new WebSocket(`${url.replace("http", "ws")}${path}`, options);
}

/** Returns a request of 2026-07-28: its body and its headers. */
export function modern(
  method: string,
  params: Members = {},
  { id = 1, meta = {} }: { id?: unknown; meta?: Members } = {},
) {
  const headers: Record<string, string> = { "mcp-protocol-version": "2026-07-28", "mcp-method": method };
  if (method === "tools/call") headers["mcp-name"] = String(params["name"]);
  return { body: request(method, { ...params, _meta: { ...modernMeta, ...meta } }, id), headers };
}

/** Returns `initialize` as a client of `revision` sends it. */
export const initialize = (revision = "2025-11-25", id: unknown = 0, capabilities: Members = {}) =>
  request("initialize", { protocolVersion: revision, capabilities, clientInfo: { name: "e2e", version: "1" } }, id);

type Texts = "call" | "rpc" | "consumer" | "subj" | "srv" | "tool" | "st";

/** A record of the audit log as exported. */
export type AuditRecord = { readonly seq: number; readonly chain: string; readonly type: string } & {
  readonly [K in Texts]?: string;
} & Readonly<Record<string, Json | undefined>>;
