import { sleep } from "../core/wait.ts";
import type { Client } from "./contract.ts";

/** Work with a daemon that continues over a new connection whenever one is lost. */
export type Lasting = {
  readonly open: () => Promise<Client>;
  /** Works over one connection, and calls `live` once it works. The work is done when this resolves. */
  readonly use: (client: Client, live: () => void) => Promise<void>;
  /** Receives the reason why there is no connection. The work continues over another one unless this throws. */
  readonly lost: (error: unknown) => void;
  readonly signal: AbortSignal;
  /** Time before the first attempt to reconnect, in ms; it doubles up to 2 s. */
  readonly retry?: number | undefined;
};

const maxDelayMs = 2_000;

/** Works over one connection after another, through daemon restarts, until the work is done or `signal` aborts. */
export async function stayConnected({ open, use, lost, signal, retry = 250 }: Lasting): Promise<void> {
  let wait = retry;
  const live = (): void => void (wait = retry);
  while (!signal.aborted) {
    let client: Client | null = null;
    try {
      client = await open();
      return await use(client, live);
    } catch (error) {
      lost(error);
    } finally {
      client?.close();
    }
    await sleep(wait, signal);
    wait = Math.min(wait * 2, maxDelayMs);
  }
}
