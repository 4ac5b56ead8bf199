import { command } from "../command.ts";
import { UsageError } from "../errors.ts";

export const tui = command({
  summary: "Interactive console with live calls, servers and consumers",
  args: {},
  run(_args, { deps, open, globals }) {
    if (globals.json) throw new UsageError("tui cannot print JSON; use `mcpgw tail --json`");
    if (!process.stdin.isTTY || !process.stdout.isTTY || process.env["TERM"] === "dumb")
      throw new UsageError("tui needs an interactive terminal; use `mcpgw tail` instead");
    return deps.console(open);
  },
});
