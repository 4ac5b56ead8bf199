import { join } from "node:path";

/** The command that starts the program: the binary named by `MCPGW_BIN`, as in all gates, else the sources. */
export const mcpgw: readonly string[] = process.env["MCPGW_BIN"]
  ? [process.env["MCPGW_BIN"]]
  : [process.execPath, join(import.meta.dir, "../../src/main.ts")];

/** Returns the command for a shell, with these arguments. */
export const mcpgwLine = (...args: readonly string[]): string =>
  [...mcpgw, ...args].map((word) => `'${word}'`).join(" ");
