import { z } from "zod";
import { type Name, operations } from "./api.ts";

/** The operations that callers may use as MCP tools. */
export type McpName = { [N in Name]: (typeof operations)[N] extends { mcp: string } ? N : never }[Name];

/** One such operation as an MCP tool; its schema is JSON Schema 2020-12. */
export type McpTool = {
  readonly operation: McpName;
  readonly name: string;
  readonly description: string;
  readonly inputSchema: Readonly<Record<string, unknown>>;
  readonly readOnly: boolean;
};

/** The rows of the table that are marked as MCP tools. */
export function mcpTools(): McpTool[] {
  return Object.entries(operations).flatMap(([operation, row]): McpTool[] => {
    if (!("mcp" in row)) return [];
    const inputSchema = z.toJSONSchema(row.input, { io: "input" });
    // The row's mark has just proved that its key belongs to a marked one.
    const { mcp: name, summary: description, access } = row;
    return [{ operation: operation as McpName, name, description, inputSchema, readOnly: access === "read" }];
  });
}
