import type { Call, Reply, Tool } from "../core/call.ts";
import { encodeHeader, paramHeaders } from "../mcp/headers.ts";
import { callParams } from "../mcp/outbound.ts";
import { progressNotification } from "../mcp/reply.ts";
import { faults, quoted } from "./faults.ts";
import type { Answer, Ask, LinkHost, Peer } from "./link.ts";

/** A caller's call as a request to its server: own id and progress token, nothing of the caller's envelope. */
export function askOf(call: Call, tool: Tool, peer: Peer, client: LinkHost["client"], timeout: number): Ask {
  const { inbound, emit, controller } = call;
  const token = emit === null ? null : inbound.progressToken;
  const { name } = tool;
  return {
    method: "tools/call",
    params: (id) =>
      callParams(inbound, {
        ...peer,
        name,
        progressToken: token === null ? null : String(id),
        client,
        capabilities: "{}",
      }),
    peer,
    timeout,
    controller,
    progress: token === null || emit === null ? null : (params) => emit(progressNotification(token, params)),
    headers: peer.era === "modern" ? mirror(tool, inbound.params.arguments) : null,
  };
}

function mirror(tool: Tool, args: unknown): Record<string, string> {
  return { "Mcp-Name": encodeHeader(tool.name), ...paramHeaders(tool.inputSchema, args) };
}

/** The server's answer as the path carries it; throws `upstream-protocol` for what nobody asked it for. */
export function replyOf(answer: Answer, { era }: Peer, server: string): Reply {
  if (answer.kind === "error") return { kind: "error", era, text: answer.error, code: answer.code };
  // No capability is declared, so neither input rounds nor tasks nor anything unknown may come back.
  if (era === "modern" && answer.resultType !== null && answer.resultType !== "complete") {
    throw faults.protocol(server, `its result is of type "${quoted(answer.resultType)}", which was not asked for`);
  }
  return { kind: "result", era, text: answer.result, isError: answer.isError };
}
