import type { Client } from "../control/contract.ts";
import { Unreachable } from "../control/refusal.ts";
import { stayConnected } from "../control/stay-connected.ts";
import { number } from "../control/format.ts";
import { messageOf } from "../core/error-text.ts";
import type { Cli } from "./cli.ts";

/**
 * Follows a stream until it ends: `read` does so over one connection, and over a further one when the daemon was gone.
 */
export async function keepFollowing({ out, open }: Pick<Cli, "out" | "open">, read: (client: Client) => Promise<void>) {
  /** Null before the first connection. */
  let connected: boolean | null = null;
  /** What was said last since the connection was lost. */
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
      // What the daemon refuses, or what cannot be printed, is no better over another connection.
      if (connected === null || (connected && !(error instanceof Unreachable))) throw error;
      // That nobody answers is what it waits through; any other reason may need somebody to do something.
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

/** Tells how much of a stream was lost. */
export const missed = (count: number, what: string): string =>
  `… ${number(count)} ${what} missed: this reader is too slow`;
