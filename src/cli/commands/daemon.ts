import { command } from "../command.ts";

export const daemon = command({
  summary: "Run the gateway in the foreground: MCP over HTTP, and the control socket",
  args: {
    listen: {
      type: "string",
      valueHint: "HOST:PORT",
      description: "address of the HTTP listener; port 0 picks a free port",
    },
  },
  run: ({ listen }, { deps, globals }) => deps.daemon({ ...globals, listen }),
});
