import { command } from "../command.ts";
import { UsageError } from "../errors.ts";

export const tui = command({
  summary: "Interactive console: live calls, servers, consumers",
  args: {},
  run(_args, { deps, open, globals }) {
    if (globals.json) throw new UsageError("tui prints no JSON; use `mcpgw tail --json`");
    if (!process.stdin.isTTY || !process.stdout.isTTY || process.env["TERM"] === "dumb")
      throw new UsageError("tui needs a terminal that it can draw on; use `mcpgw tail` elsewhere");
    return deps.console(open);
  },
});
