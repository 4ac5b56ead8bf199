import { command } from "../command.ts";

export const serve = command({
  summary: "Serve MCP on standard input and output for the key in MCPGW_API_KEY, through the daemon if one is running",
  args: {},
  run: (_args, { deps, globals }) => deps.serve(globals),
});
