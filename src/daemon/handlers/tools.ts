import type { Answer, Parsed } from "../../control/api.ts";
import { Refusal } from "../../control/refusal.ts";
import type { ServerTool, ToolView } from "../../control/schemas.ts";
import type { Call, Route, Viewpoint } from "../../core/call.ts";
import { Failure } from "../../core/failure.ts";
import { messageOf } from "../../core/error-text.ts";
import { noCapabilities } from "../../core/inbound.ts";
import { objectIn, parseObject } from "../../core/json.ts";
import { ownServer } from "../../core/name.ts";
import { rpcCodes } from "../../core/rpc-code.ts";
import { cut } from "../../core/text.ts";
import { callByName, type Caller } from "../../gateway/call-by-name.ts";
import { rawValue } from "../../mcp/json-text.ts";
import { type Gateway, learnTools } from "../../gateway/gateway.ts";
import { type ScanLimits, scan } from "../../mcp/scan.ts";
import { errorTextOf, type Viewer } from "../../serve/gateway-tools.ts";

/** Returns a tool in the form that operators and `list_tools` show. */
function toolView({ canonical, wire, server, tool }: Route): ToolView {
  const { description } = objectIn(tool?.text ?? "");
  const shown = typeof description === "string" ? cut(description, 500) : null;
  return { name: canonical, wire, server, description: shown, hidden: null };
}

/** Returns a tool with the parts of its schema that are not checked. */
export function serverTool({ validator }: Gateway, route: Route): ServerTool {
  const unchecked = route.tool ? validator.unchecked(route.tool) : [];
  return { ...toolView(route), unchecked: unchecked.map((pattern) => cut(pattern, 100)) };
}

/** Returns the tools that a viewer may use from its viewpoint, as `tools/list` shows them. */
export async function listTools(
  gw: Gateway,
  server: string | undefined,
  viewer: Viewer,
): Promise<Answer<"tools.list">> {
  return { tools: (await toolsFor(gw, server, viewer)).map(toolView) };
}

/** Returns the routes of the tools that a viewer may use. */
export async function toolsFor(gw: Gateway, server: string | undefined, viewer: Viewer): Promise<Route[]> {
  const from = viewpointOf(viewer);
  const { catalog } = await learnTools(gw, from);
  return catalog.tools(from).filter((route) => server === undefined || route.server === server);
}

/** Counts the known tools of a server that a viewer may use. */
export function countTools({ catalog }: Gateway, server: string, viewer: Viewer): number {
  return catalog.tools(viewpointOf(viewer)).filter((route) => route.server === server).length;
}

function viewpointOf({ who, source, call, controller }: Viewer): Viewpoint & Pick<Call, "controller"> {
  const alone = { who, source, scope: null, session: null, capabilities: noCapabilities } as const;
  return call ?? { ...alone, inbound: { era: "legacy" }, controller };
}

/** Calls a tool through the whole pipeline and returns its outcome. */
export async function callTool(
  gw: Gateway,
  tool: string,
  args: unknown,
  caller: Caller,
): Promise<Answer<"tools.call">> {
  return outcome(await run(gw, tool, args, caller));
}

async function run(gw: Gateway, tool: string, args: unknown, caller: Caller): Promise<Call> {
  return callByName(gw, tool, typeof args === "string" ? objectText(args, gw.caps) : JSON.stringify(args), caller);
}

/** Checks that a text is one JSON object and returns it unchanged, so that every digit is forwarded as written. */
function objectText(text: string, limits: ScanLimits): string {
  try {
    scan(text, limits);
  } catch (error) {
    throw new Refusal("invalid", messageOf(error));
  }
  if (parseObject(text)) return text;
  throw new Refusal("invalid", "the arguments are not one JSON object");
}

/** Runs `mcpgw__call`: the inner call is authorized, limited and recorded on its own, in the outer scope. */
export function nestedCall(
  gw: Gateway,
  { tool, arguments: args }: Parsed<"tools.call">,
  { who, source, call, controller }: Viewer,
): Promise<Call> {
  if (isOwn(gw, tool, call?.scope ?? null)) {
    throw new Failure("denied", "call cannot call the gateway's own tools; call them directly.");
  }
  const given = typeof args === "string" ? args : (rawArguments(call) ?? args);
  return run(gw, tool, given, { source, credentials: [], vouched: who, controller, outer: call });
}

/** Reports whether a name refers to one of the gateway's own tools, which a toolset may rename. */
function isOwn({ catalog }: Gateway, tool: string, scope: string | null): boolean {
  if (tool.startsWith(`${ownServer}:`) || tool.startsWith(`${ownServer}__`)) return true;
  return catalog.routes("tools", scope).some(({ server, wire }) => server === ownServer && wire === tool);
}

/** Returns the inner arguments of `mcpgw__call` as written, because parsing and serializing alters long numbers. */
function rawArguments(call: Call | null): string | null {
  const outer = call?.inbound.spans.arguments;
  return call && outer ? rawValue(call.inbound.text, outer[0], "arguments") : null;
}

function outcome({ id, status, reply, failure }: Call): Answer<"tools.call"> {
  if (failure) return { call: id, status, result: null, error: { code: failure.row.rpc, message: failure.message } };
  if (reply?.kind === "result") return { call: id, status, result: reply.text, error: null };
  const message = errorTextOf(reply);
  return { call: id, status, result: null, error: { code: reply?.code ?? rpcCodes.internalError, message } };
}
