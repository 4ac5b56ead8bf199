import type { Client } from "../control/contract.ts";
import { Unreachable } from "../control/refusal.ts";
import { stayConnected } from "../control/stay-connected.ts";
import { number } from "../control/format.ts";
import { messageOf } from "../core/error-text.ts";
import type { Cli } from "./cli.ts";

/** Follows a stream until it ends; `read` is called again with a new connection after the daemon went away. */
export async function keepFollowing({ out, open }: Pick<Cli, "out" | "open">, read: (client: Client) => Promise<void>) {
  /** Null before the first connection. */
  let connected: boolean | null = null;
  /** The last message since the connection was lost. */
  let told = "";
  await stayConnected({
    open,
    async use(client, live) {
      connected = true;
      told = "";
      live();
      await read(client);
    },
    lost(error) {
      // A refusal by the daemon or a failed write would fail the same way over another connection.
      if (connected === null || (connected && !(error instanceof Unreachable))) throw error;
      // Waiting covers a daemon that does not answer; any other reason may need action by the user.
      const text = `mcpgw: ${messageOf(error)}; waiting for it to come back`;
      const matters = connected || !(error instanceof Unreachable);
      connected = false;
      if (!matters || text === told) return;
      out.say(text, "yellow");
      told = text;
    },
    signal: new AbortController().signal,
  });
}

/** Returns the message that this many items of a stream were lost. */
export const missed = (count: number, what: string): string =>
  `… ${number(count)} ${what} skipped: this reader is too slow`;
