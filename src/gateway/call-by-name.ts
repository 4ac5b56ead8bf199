import { type Call, type IdentifiedCall, isShown, type Route } from "../core/call.ts";
import type { AbortControllerLike } from "../core/cancel.ts";
import { asFailure, Failure } from "../core/failure.ts";
import type { Revision } from "../core/inbound.ts";
import { notFound } from "../core/name.ts";
import type { Presented } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";
import { readInbound } from "../mcp/classify.ts";
import { requestText } from "../mcp/outbound.ts";
import { underToken } from "../mcp/reply.ts";
import { isLonger } from "../mcp/utf8.ts";
import { callOf } from "./call.ts";
import { refuse } from "./conclude.ts";
import { type Gateway, learnTools, whenSettled } from "./gateway.ts";
import { handle } from "./handle.ts";

/** The sender of a call that did not arrive as an MCP message. */
export type Caller = Presented & {
  readonly controller: AbortControllerLike;
  /** The call of the same caller for which this one is made. This one has the same scope, session and stream. */
  readonly outer?: IdentifiedCall | null;
};

/** Calls `server:tool` like any other call; `args` is JSON text. Resolves with the ended call. */
export async function callByName(gw: Gateway, tool: string, args: string, caller: Caller): Promise<Call> {
  const { outer = null } = caller;
  let route = findFor(gw, outer, tool);
  if (!route) {
    // The server may still be starting, or may have to be asked for tools that only this caller sees.
    gw = await whenSettled(gw, { scope: outer?.scope ?? null, controller: caller.controller });
    if (outer) gw = await learnTools(gw, outer);
    route = findFor(gw, outer, tool);
  }
  const name = route?.wire ?? tool;
  const token = outer?.emit ? outer.inbound.progressToken : null;
  const meta = token === null ? "" : `,"_meta":{"progressToken":${token}}`;
  const params = `{"name":${JSON.stringify(name)},"arguments":${args}${meta}}`;
  const call = inboundCall(gw, requestText(0, "tools/call", params), caller);
  await handle(gw, call);
  // Uses the caller's own spelling, because a wire name in the message would reveal that the tool exists.
  if (call.failure?.code === "unknown-tool") call.failure = notFound("tool", tool);
  return call;
}

/** Returns a tool's route for the caller: a toolset may rename it, and the caller's own instance may offer more. */
function findFor({ catalog }: Gateway, outer: IdentifiedCall | null, tool: string): Route | null {
  const isMeant = ({ canonical }: Route): boolean => canonical === tool;
  const common = outer?.scope ? catalog.routes("tools", outer.scope).find(isMeant) : catalog.find(tool);
  // For a caller that is not shown this tool, the same wire name may lead to another tool.
  if (common && (!outer || isShown(common, outer))) return common;
  return (outer && catalog.tools(outer).find(isMeant)) ?? null;
}

/** Identifies a caller that requests `method`. Throws the failure of authentication after the refusal is recorded. */
export async function identify(gw: Gateway, caller: Caller, method: string): Promise<Principal> {
  try {
    return gw.authn.identify(caller);
  } catch (error) {
    throw await refuse(gw, inboundCall(gw, requestText(0, method, null), caller), asFailure(error));
  }
}

function inboundCall(gw: Gateway, text: string, caller: Caller): Call {
  const { controller, outer = null } = caller;
  const { scope = null, session = null } = outer ?? {};
  const { inbound, fault } = read(gw, text, session?.revision ?? "2025-11-25");
  // The client's capabilities decide which instances are the caller's, and what the client may be asked.
  const capabilities = outer?.inbound.capabilities ?? null;
  const carrier = { controller, session, scope, emit: outer && emitOf(outer), ask: outer?.ask ?? null };
  return callOf(gw, { inbound: { ...inbound, capabilities }, fault }, caller, carrier);
}

/** Stands in for a call that cannot be parsed. */
const unreadable = requestText(0, "tools/call", '{"name":""}');

function read({ caps }: Gateway, text: string, revision: Revision): Pick<Call, "inbound" | "fault"> {
  const context = { headers: null, pinned: "legacy", revision } as const;
  try {
    if (!isLonger(text, caps.body)) return { inbound: readInbound(text, caps, context), fault: null };
    throw new Failure("body-too-large", "The arguments are larger than limits.body allows.");
  } catch (error) {
    return { inbound: readInbound(unreadable, caps, context), fault: asFailure(error) };
  }
}

/** Passes progress on if the caller asked for it. Log messages were not requested. */
function emitOf({ emit, inbound: { progressToken } }: IdentifiedCall): Call["emit"] {
  if (!emit || progressToken === null) return null;
  return (notification) => {
    const text = underToken(notification, { progressToken, logLevel: null });
    if (text !== null) emit(text);
  };
}
