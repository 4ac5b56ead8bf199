import { command } from "../command.ts";

export const serve = command({
  summary: "Serve MCP on standard input and output to the holder of MCPGW_API_KEY, through the daemon if one runs",
  args: {},
  run: (_args, { deps, globals }) => deps.serve(globals),
});
