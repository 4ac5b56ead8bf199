import type { Call, Route } from "../core/call.ts";
import type { AbortControllerLike } from "../core/cancel.ts";
import { asFailure, Failure } from "../core/failure.ts";
import { notFound } from "../core/name.ts";
import type { Presented } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { readInbound } from "../mcp/classify.ts";
import { underToken } from "../mcp/reply.ts";
import { isLonger } from "../mcp/utf8.ts";
import { callOf } from "./call.ts";
import { type Gateway, whenBooted } from "./gateway.ts";
import { handle, refuse } from "./handle.ts";

/** The sender of a call that did not arrive as an MCP message. */
export type Caller = Presented & {
  readonly controller: AbortControllerLike;
  /** The only server or toolset that the call may reach; null for all servers. */
  readonly scope: string | null;
  /** The token of whoever wants to hear of progress (raw JSON), and how it is told. */
  readonly progress?: { readonly token: string; tell(notification: string): void } | null;
};

/** Calls `server:tool` in the same way as any other call; `args` is JSON text. Resolves with the ended call. */
export async function callByName(gw: Gateway, tool: string, args: string, caller: Caller): Promise<Call> {
  let route = findIn(gw, caller.scope, tool);
  if (!route) {
    // Its server may still be starting.
    gw = await whenBooted(gw, caller);
    route = findIn(gw, caller.scope, tool);
  }
  const name = route?.wire ?? tool;
  const { progress } = caller;
  const meta = progress ? `,"_meta":{"progressToken":${progress.token}}` : "";
  const params = `{"name":${JSON.stringify(name)},"arguments":${args}${meta}}`;
  const call = inboundCall(gw, `{"jsonrpc":"2.0","id":0,"method":"tools/call","params":${params}}`, caller);
  await handle(gw, call);
  // The caller's own spelling: a wire name in the message would show that the tool exists.
  if (call.failure?.code === "unknown-tool") call.failure = notFound("tool", tool);
  return call;
}

/** The route of a tool within a scope, where a toolset may have renamed it. */
function findIn({ catalog }: Gateway, scope: string | null, tool: string): Route | null {
  if (scope === null) return catalog.find(tool);
  return catalog.routes("tools", scope).find(({ canonical }) => canonical === tool) ?? null;
}

/** Identifies a caller that asks for `method`; throws what authentication throws, once the refusal is recorded. */
export async function identify(gw: Gateway, caller: Caller, method: string): Promise<Principal> {
  try {
    return gw.authn.identify(caller);
  } catch (error) {
    const failure = asFailure(error);
    await refuse(gw, inboundCall(gw, `{"jsonrpc":"2.0","id":0,"method":"${method}"}`, caller), failure);
    throw failure;
  }
}

function inboundCall(gw: Gateway, text: string, caller: Caller): Call {
  const context = { headers: null, pinned: "legacy", revision: "2025-11-25" } as const;
  const read = () => {
    try {
      if (isLonger(text, gw.shape.body))
        throw new Failure("body-too-large", "The arguments are larger than limits.body allows.");
      return { inbound: readInbound(text, gw.shape, context), fault: null };
    } catch (error) {
      const inbound = readInbound(
        '{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{"name":""}}',
        gw.shape,
        context,
      );
      return { inbound, fault: asFailure(error) };
    }
  };
  return callOf(gw, read(), caller, { ...caller, session: null, emit: emitOf(caller) });
}

/** No log messages were asked for. */
function emitOf({ progress }: Caller): Call["emit"] {
  if (!progress) return null;
  const { token, tell } = progress;
  return (notification) => {
    const text = underToken(notification, { progressToken: token, logLevel: null });
    if (text !== null) tell(text);
  };
}
