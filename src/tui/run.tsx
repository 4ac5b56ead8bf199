import type { Client } from "../control/contract.ts";
import { Feed } from "./feed.ts";

/** Runs the console until the user quits, reconnecting with `open` when needed. Resolves to the exit code. */
export async function runConsole(open: () => Promise<Client>): Promise<number> {
  // With DEV set, ink would load its developer tools, which the executable does not contain.
  delete process.env["DEV"];
  // ink's colors obey only FORCE_COLOR, and read it when the module loads.
  if (process.env["NO_COLOR"]) process.env["FORCE_COLOR"] = "0";
  const { render } = await import("ink");
  const { App } = await import("./app.tsx");
  const feed = new Feed({ open });
  try {
    await render(<App feed={feed} />, { alternateScreen: true, interactive: true }).waitUntilExit();
    return 0;
  } finally {
    feed.close();
  }
}
