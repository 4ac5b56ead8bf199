import { z } from "zod";
import { operations, type Name, type Output, type Parsed } from "../control/api.ts";
import type { Call, Reply, Tool } from "../core/call.ts";
import { Failure } from "../core/failure.ts";
import type { LocalServer } from "../core/ports.ts";
import type { Principal } from "../core/principal.ts";

type Marked = { [N in Name]: (typeof operations)[N] extends { mcp: string } ? N : never }[Name];

/** Who looks, and whose records may be seen. */
export type Viewer = {
  readonly who: Principal;
  /** Only this consumer's records; null: everybody's. */
  readonly consumer: string | null;
  readonly call: Call | null;
  readonly signal: AbortSignal;
};

/** The operations that callers may use as MCP tools, each in the eyes of its viewer. */
export type ViewerHandlers = {
  readonly [N in Marked]: (input: Parsed<N>, viewer: Viewer) => Promise<Output<N>> | Output<N>;
};

type Entry = { readonly tool: Tool; readonly name: Marked };

/** The gateway's own MCP tools: a server inside the process that obeys the operations table. */
export function gatewayTools(handlers: ViewerHandlers, seesAll: (who: Principal) => boolean): LocalServer {
  const entries = new Map<string, Entry>();
  for (const [name, row] of Object.entries(operations)) {
    if (!("mcp" in row)) continue;
    // Object.entries widens the key; the row has just proved to be marked.
    entries.set(row.mcp, { tool: definition(row.mcp, row), name: name as Marked });
  }
  return {
    id: "mcpgw",
    tools: [...entries.values()].map(({ tool }) => tool),
    async call(call, who, tool, args) {
      const entry = entries.get(tool);
      if (!entry) throw new Failure("unknown-tool", `Unknown tool: mcpgw:${tool}`);
      const viewer = { who, consumer: seesAll(who) ? null : who.consumerId, call, signal: call.signal };
      return run(handlers, entry.name, args, viewer);
    },
  };
}

async function run(handlers: ViewerHandlers, name: Marked, args: unknown, viewer: Viewer): Promise<Reply> {
  const input = operations[name].input.safeParse(args ?? {});
  if (!input.success) throw new Failure("invalid-arguments", z.prettifyError(input.error));
  // The table ties each input to its handler, which a union of rows cannot express.
  const handler = handlers[name] as (input: unknown, viewer: Viewer) => Promise<Output<Marked>>;
  const output = await handler(input.data, viewer);
  if (name === "tools.call") return forwarded(output as Output<"tools.call">);
  const text = JSON.stringify(output);
  return local(`{"content":[{"type":"text","text":${JSON.stringify(text)}}],"structuredContent":${text}}`, false);
}

/** The inner call's answer is the answer. */
function forwarded({ result, status, error }: Output<"tools.call">): Reply {
  if (result !== null) return local(result, status !== "ok");
  return local(`{"content":[{"type":"text","text":${JSON.stringify(error?.message ?? status)}}],"isError":true}`, true);
}

function local(text: string, isError: boolean): Reply {
  return { kind: "result", era: "legacy", text, isError };
}

function definition(name: string, row: { summary: string; input: z.ZodType; output: z.ZodType }): Tool {
  const inputSchema = z.toJSONSchema(row.input, { io: "input" });
  const text = JSON.stringify({
    name,
    description: row.summary,
    inputSchema,
    annotations: { readOnlyHint: name !== "call" },
  });
  return { name, text, inputSchema };
}
