import { command } from "../command.ts";
import { UsageError } from "../errors.ts";

export const tui = command({
  summary: "Interactive console: live calls, servers, consumers",
  args: {},
  run(_args, { deps, open }) {
    if (!process.stdin.isTTY || !process.stdout.isTTY)
      throw new UsageError("tui needs a terminal; use `mcpgw tail` in scripts");
    return deps.console(open);
  },
});
