import { sleep } from "../core/wait.ts";
import type { Client } from "./contract.ts";

/** Work with a daemon that goes on over another connection whenever one is lost. */
export type Lasting = {
  readonly open: () => Promise<Client>;
  /** Works over one connection; calls `live` once it has proved good. When this resolves, the work is done. */
  readonly use: (client: Client, live: () => void) => Promise<void>;
  /** Told why there is no connection, or none any more. The work goes on over another one, unless this throws. */
  readonly lost: (error: unknown) => void;
  readonly signal: AbortSignal;
  /** Time before the first attempt to reconnect, ms; it doubles up to 2 s. */
  readonly retry?: number | undefined;
};

const longestWait = 2_000;

/** Works over one connection after another, through restarts of the daemon, until the work is done or `signal` ends. */
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
    wait = Math.min(wait * 2, longestWait);
  }
}
