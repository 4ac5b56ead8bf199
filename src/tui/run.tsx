import type { Client } from "../control/contract.ts";
import { Feed } from "./feed.ts";

/** Runs the console until it is left; `open` is called anew whenever the connection is lost. Resolves to the exit code. */
export async function runConsole(open: () => Promise<Client>): Promise<number> {
  // ink would load its developer tools, which the executable does not hold.
  delete process.env["DEV"];
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
