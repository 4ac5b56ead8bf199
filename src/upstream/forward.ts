import type { Call, Reply, Route } from "../core/call.ts";
import type { Errand } from "../core/ports.ts";
import { encodeHeader, paramHeaders } from "../mcp/headers.ts";
import { callParams } from "../mcp/outbound.ts";
import { progressNotification } from "../mcp/reply.ts";
import { faults, quoted } from "./faults.ts";
import type { Answer, Ask, LinkHost, Peer } from "./link.ts";

/** How a server is spoken to. */
type Way = { readonly peer: Peer; readonly client: LinkHost["client"]; readonly timeout: number };

/** A caller's call as a request to its server: own id and progress token, nothing of the caller's envelope. */
export function askOf(call: Call, route: Route, { method, edits }: Errand, { peer, client, timeout }: Way): Ask {
  const { inbound, emit, controller } = call;
  const token = emit === null ? null : inbound.progressToken;
  return {
    method,
    params: (id) =>
      callParams(inbound, {
        ...peer,
        edits,
        progressToken: token === null ? null : String(id),
        client,
        capabilities: "{}",
      }),
    peer,
    timeout,
    controller,
    progress: token === null || emit === null ? null : (params) => emit(progressNotification(token, params)),
    headers: peer.era === "modern" ? mirror(route, inbound.params.arguments) : null,
  };
}

function mirror({ kind, name, tool }: Route, args: unknown): Record<string, string> {
  if (kind === "extension") return {};
  return { "Mcp-Name": encodeHeader(name), ...(tool && paramHeaders(tool.inputSchema, args)) };
}

/** The server's answer as the path carries it; throws `upstream-protocol` for what nobody asked it for. */
export function replyOf(answer: Answer, { era }: Peer, server: string): Reply {
  if (answer.kind === "error") return { kind: "error", era, text: answer.error, code: answer.code };
  // No capability is declared, so neither input rounds nor tasks nor anything unknown may come back.
  if (era === "modern" && answer.resultType !== null && answer.resultType !== "complete") {
    throw faults.protocol(server, `its result is of type "${quoted(answer.resultType)}", which was not asked for`);
  }
  return { kind: "result", era, text: answer.result, isError: answer.isError, type: null };
}
