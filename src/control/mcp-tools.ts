import { z } from "zod";
import { type Name, operations } from "./api.ts";

export type McpName = { [N in Name]: (typeof operations)[N] extends { mcp: string } ? N : never }[Name];

/** An operation as an MCP tool; its schema is JSON Schema 2020-12. */
export type McpTool = {
  readonly operation: McpName;
  readonly name: string;
  readonly description: string;
  readonly inputSchema: Readonly<Record<string, unknown>>;
  readonly readOnly: boolean;
};

/** Returns the operations that have an MCP tool name, as MCP tools. */
export function mcpTools(): McpTool[] {
  return Object.entries(operations).flatMap(([operation, row]): McpTool[] => {
    if (!("mcp" in row)) return [];
    const inputSchema = z.toJSONSchema(row.input, { io: "input" });
    // `operation` is an `McpName`, since its row has `mcp`.
    const { mcp: name, summary: description, access } = row;
    return [{ operation: operation as McpName, name, description, inputSchema, readOnly: access === "read" }];
  });
}
