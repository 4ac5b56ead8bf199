import type { Answer, Parsed } from "../control/api.ts";
import { parseInput } from "../control/dispatch.ts";
import { type McpName, type McpTool, mcpTools } from "../control/mcp-tools.ts";
import { Refusal } from "../control/refusal.ts";
import type { AbortControllerLike } from "../core/cancel.ts";
import { Call, type IdentifiedCall, type Reply, type Tool } from "../core/call.ts";
import { objectIn } from "../core/json.ts";
import { canonicalName, notFound, ownServer } from "../core/name.ts";
import type { LocalServer } from "../core/ports.ts";
import type { Principal, Source } from "../core/principal.ts";
import { rpcCodes } from "../core/rpc-code.ts";
import { toolFailure } from "../mcp/reply.ts";

/** The caller of an operation and what it may see. */
export type Viewer = {
  readonly who: Principal;
  /** The consumer whose records it may see; null for all records. */
  readonly consumer: string | null;
  readonly source: Source;
  readonly call: IdentifiedCall | null;
  readonly controller: AbortControllerLike;
};

type Asked = Exclude<McpName, "tools.call">;

/** The operations that callers may use as MCP tools; each returns only what its viewer may see. */
export type ViewerHandlers = {
  readonly [N in Asked]: (input: Parsed<N>, viewer: Viewer) => Promise<Answer<N>> | Answer<N>;
} & {
  /** Resolves to the ended call. */
  readonly "tools.call": (input: Parsed<"tools.call">, viewer: Viewer) => Promise<Call>;
};

/** Returns the gateway's own MCP server, which offers the MCP tools of the operations table. */
export function gatewayTools(
  handlers: ViewerHandlers,
  seesAll: (who: Principal, source: Source) => boolean,
): LocalServer {
  const rows = mcpTools();
  const operations = new Map(rows.map(({ name, operation }) => [name, operation]));
  return {
    id: ownServer,
    tools: rows.map(toolOf),
    async call(call, tool, args) {
      const { who, source } = call;
      const operation = operations.get(tool);
      if (!operation) throw notFound("tool", canonicalName(ownServer, tool));
      const consumer = seesAll(who, source) ? null : who.consumerId;
      return run(handlers, operation, args, { who, consumer, source, call, controller: call.controller });
    },
  };
}

function toolOf({ name, description, inputSchema, readOnly }: McpTool): Tool {
  const annotations = { readOnlyHint: readOnly };
  return { name, text: JSON.stringify({ name, description, inputSchema, annotations }), inputSchema };
}

async function run(handlers: ViewerHandlers, name: McpName, args: unknown, viewer: Viewer): Promise<Reply> {
  try {
    const input = parseInput(name, args);
    // The operations table pairs each input with its handler, which a union of rows cannot express in types.
    const handler = handlers[name] as (input: unknown, viewer: Viewer) => Promise<Call | Answer<Asked>>;
    const output = await handler(input, viewer);
    if (output instanceof Call) return forwarded(output);
    const text = JSON.stringify(output);
    return local(`{"content":[{"type":"text","text":${JSON.stringify(text)}}],"structuredContent":${text}}`, false);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return textReply(error.message);
  }
}

/** Returns the outcome of the inner call as the result of the tool that made it. */
function forwarded({ reply, failure, status, controller }: Call): Reply {
  // Both calls share the controller: an abort of the inner call ends the outer one too and is not a tool result.
  if (failure && controller.signal.aborted) throw failure;
  if (failure) return local(toolFailure(failure, "legacy", null), true);
  if (!reply) return textReply(status);
  // The client itself must read which URLs it has to visit.
  const passes = reply.kind === "result" || reply.code === rpcCodes.urlElicitation;
  return passes ? reply : textReply(errorTextOf(reply));
}

/** Returns the message of a server's JSON-RPC error. */
export function errorTextOf(reply: Reply | null): string {
  const { message } = objectIn(reply?.text ?? "");
  return typeof message === "string" ? message : "the server answered with an error";
}

function textReply(text: string): Reply {
  return local(`{"content":[{"type":"text","text":${JSON.stringify(text)}}],"isError":true}`, true);
}

function local(text: string, isError: boolean): Reply {
  return { kind: "result", era: "legacy", text, isError, type: null };
}
