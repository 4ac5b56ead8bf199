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

/** Sends a message to a gateway and leaves the answer to be read. */
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

/** The headers of the session that `initialize` opened; they go with every further request. */
export function sessionOf({ status, headers, text }: Answer, revision: string): Record<string, string> {
  const id = headers.get("mcp-session-id");
  if (status !== 200 || id === null) throw new Error(`initialize: ${status} ${text}`);
  return { "mcp-session-id": id, "mcp-protocol-version": revision };
}

/** An HTTP response with its body read; of an event stream, `json` is the last event and `events` has them all. */
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
    // Not every answer is JSON; `text` has it.
    return null;
  }
}

const dataOf = (text: string): unknown[] =>
  text
    .split("\n")
    .filter((line) => line.startsWith("data:") && line.slice(5).trim() !== "")
    .map((line) => JSON.parse(line.slice(5)) as unknown);

/** The events of a stream as they arrive; ends with it. */
export async function* eventsOf(response: Response): AsyncGenerator<unknown> {
  for await (const block of blocksOf(response)) yield* dataOf(block);
}

/** The same as text; what no blank line ends is no event. */
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

/** One event as it came: its id, and its message where it has one. */
export type Event = { readonly id: string | null; readonly name: string | null; readonly data: unknown };

/** The same with their ids, and those without a message; ends with the stream, however it ends. */
export async function* numberedOf(response: Response): AsyncGenerator<Event, undefined> {
  const field = (block: string, name: string) => new RegExp(`^${name}: ?(.*)$`, "m").exec(block)?.[1] ?? null;
  try {
    for await (const block of blocksOf(response)) {
      if (block.startsWith(":")) continue;
      const data = field(block, "data");
      yield { id: field(block, "id"), name: field(block, "event"), data: data ? parsed(data) : null };
    }
  } catch {
    // The reader has gone, or the server cut it off.
  }
  return undefined;
}

/** A value inside parsed JSON by its path, e.g. `result.content.0.text`; undefined where there is none. */
export function pick(json: unknown, path: string): unknown {
  let value = json;
  for (const key of path.split(".")) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Members)[key]; // a path may lead anywhere, and what is there is unknown
  }
  return value;
}

/** The first text of what a tool returned. */
export function textIn(result: unknown): string {
  const text = pick(result, "content.0.text");
  return typeof text === "string" ? text : "";
}

/** The same of an answer. */
export const textOf = (json: unknown): string => textIn(pick(json, "result"));

/** The same, parsed. */
export const resultOf = (json: unknown): unknown => JSON.parse(textOf(json));

/** A JSON-RPC request. */
export const request = (method: string, params: Members = {}, id: unknown = 1) => ({
  jsonrpc: "2.0",
  id,
  method,
  params,
});

export const toolCall = (name: string, args: unknown = {}, id: unknown = 1) =>
  request("tools/call", { name, arguments: args }, id);

/** The header with which a client of 2025-11-25 says so without a session. */
export const v2025 = { "mcp-protocol-version": "2025-11-25" };

const modernMeta = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "e2e", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};

/** A WebSocket to a gateway's address, in which one of Bun sends headers too. */
export function openSocket(url: string, path: string, key: string, protocols: readonly string[] = []): WebSocket {
  const options = { headers: { authorization: `Bearer ${key}` }, protocols: [...protocols] };
  return new WebSocket(`${url.replace("http", "ws")}${path}`, options);
}

/** A request of 2026-07-28: its body and the headers that go with it. */
export function modern(
  method: string,
  params: Members = {},
  { id = 1, meta = {} }: { id?: unknown; meta?: Members } = {},
) {
  const headers: Record<string, string> = { "mcp-protocol-version": "2026-07-28", "mcp-method": method };
  if (method === "tools/call") headers["mcp-name"] = String(params["name"]);
  return { body: request(method, { ...params, _meta: { ...modernMeta, ...meta } }, id), headers };
}

/** `initialize` as a client of `revision` sends it. */
export const initialize = (revision = "2025-11-25", id: unknown = 0, capabilities: Members = {}) =>
  request("initialize", { protocolVersion: revision, capabilities, clientInfo: { name: "e2e", version: "1" } }, id);

type Texts = "call" | "rpc" | "consumer" | "subj" | "srv" | "tool" | "st";

/** A record of the audit log as exported. */
export type AuditRecord = { readonly seq: number; readonly chain: string; readonly type: string } & {
  readonly [K in Texts]?: string;
} & Readonly<Record<string, Json | undefined>>;
