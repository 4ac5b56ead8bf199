import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { calculate } from "./arithmetic.ts";
import { CalculatorError } from "./number.ts";
import {
  calculateInput,
  calculateOutput,
  convertInput,
  convertOutput,
  statisticsInput,
  statisticsOutput,
} from "./options.ts";
import { describe } from "./statistics.ts";
import { convert, dimensions } from "./units.ts";

const annotations = { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: false };

const units = Object.entries(dimensions).map(([name, known]) => `${name}: ${Object.keys(known).join(" ")}`);

type Answer = {
  content: { type: "text"; text: string }[];
  structuredContent?: Record<string, unknown>;
  isError?: boolean;
};

// A mistake by the caller becomes a tool error that the agent can act on; anything else is a bug and is thrown.
function answer(compute: () => Record<string, unknown>, text: (value: Record<string, unknown>) => string): Answer {
  try {
    const value = compute();
    return { content: [{ type: "text", text: text(value) }], structuredContent: value };
  } catch (error) {
    if (!(error instanceof CalculatorError)) throw error;
    return { content: [{ type: "text", text: `Error: ${error.message}.` }], isError: true };
  }
}

const resultOf = (value: Record<string, unknown>): string => String(value["result"]);

/** Creates the calculator MCP server: deterministic, without state, network or files. */
export function createCalculator(version: string): McpServer {
  const server = new McpServer({ name: "mcpgw-calculator", version });
  server.registerTool(
    "exact_calculate",
    {
      title: "Exact calculation",
      description:
        "Exact decimal arithmetic: no binary rounding, up to 1000 significant digits, and a flag that says whether the result is exact.",
      inputSchema: calculateInput,
      outputSchema: calculateOutput,
      annotations,
    },
    ({ operator, operands, precision }) => answer(() => calculate(operator, operands, precision), resultOf),
  );
  server.registerTool(
    "statistics",
    {
      title: "Statistics",
      description: "Sum, mean, median, mode, minimum, maximum, variance and standard deviation of a list of numbers.",
      inputSchema: statisticsInput,
      outputSchema: statisticsOutput,
      annotations,
    },
    ({ values, precision }) =>
      answer(
        () => describe(values, precision),
        (value) => JSON.stringify(value),
      ),
  );
  server.registerTool(
    "convert_units",
    {
      title: "Unit conversion",
      description: `Converts between units of the same dimension with exact conversion factors. Units: ${units.join("; ")}.`,
      inputSchema: convertInput,
      outputSchema: convertOutput,
      annotations,
    },
    ({ value, from, to, precision }) => answer(() => convert(value, from, to, precision), resultOf),
  );
  return server;
}
