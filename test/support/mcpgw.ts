import { join } from "node:path";

/** How tests start the program: the compiled binary where `MCPGW_BIN` names one, as in all gates, else the sources. */
export const mcpgw: readonly string[] = process.env["MCPGW_BIN"]
  ? [process.env["MCPGW_BIN"]]
  : [process.execPath, join(import.meta.dir, "../../src/main.ts")];

/** The same for a shell, with these arguments. */
export const mcpgwLine = (...args: readonly string[]): string =>
  [...mcpgw, ...args].map((word) => `'${word}'`).join(" ");
