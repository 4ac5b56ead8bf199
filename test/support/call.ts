import {
  Call,
  type CallInit,
  type IdentifiedCall,
  type BegunCall,
  type Route,
  type Tool,
} from "../../src/core/call.ts";
import type { Inbound } from "../../src/core/inbound.ts";
import type { Source } from "../../src/core/principal.ts";

export const loopback: Source = { transport: "http", ip: "127.0.0.1", loopback: true, forwarded: false };
export const remote: Source = { ...loopback, ip: "192.0.2.1", loopback: false };

/** Returns a modern request as the wire would have read it. */
export function makeInbound(params: Record<string, unknown>, method: string): Inbound {
  const text = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  return {
    kind: "request",
    era: "modern",
    revision: "2026-07-28",
    text,
    values: 0,
    idText: "1",
    method,
    params,
    spans: { params: null, arguments: null },
    progressToken: null,
    paramHeaders: null,
    client: null,
    capabilities: null,
    logLevel: null,
    answer: null,
    answersTo: [],
  };
}

export type CallParts = Partial<CallInit> & {
  readonly name?: string;
  readonly args?: unknown;
  readonly method?: string;
};

/** Returns a call for tests; `args` undefined means that the caller sent no arguments. */
export function makeCall({ name = "crm__get", args, method = "tools/call", ...init }: CallParts = {}): Call {
  return new Call({
    id: "c1",
    at: 0,
    started: 0,
    inbound: makeInbound(args === undefined ? { name } : { name, arguments: args }, method),
    source: loopback,
    credentials: [],
    vouched: null,
    session: null,
    scope: null,
    fault: null,
    controller: new AbortController(),
    emit: null,
    ask: null,
    open: null,
    ...init,
  });
}

/** Returns a tool as a server would have listed it. */
export function makeTool(name: string, inputSchema: Tool["inputSchema"] = { type: "object" }): Tool {
  return { name, text: JSON.stringify({ name, inputSchema }), inputSchema };
}

export function makeRoute(server: string, tool: string, inputSchema?: Tool["inputSchema"]): Route {
  return {
    kind: "tool",
    server,
    name: tool,
    tool: makeTool(tool, inputSchema),
    canonical: `${server}:${tool}`,
    wire: `${server}__${tool}`,
  };
}

/** Returns a call as the audit passes it on. */
export const asBegun = (call: IdentifiedCall, route = call.route): BegunCall =>
  Object.assign(call, { begun: true, route }) as BegunCall;
