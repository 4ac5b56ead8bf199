import type { Resumption } from "../../mcp/sse.ts";
import { sleep } from "../../core/wait.ts";
import { Backoff } from "../backoff.ts";
import { isEventStream, readEvents, type Reading, silentMs } from "./event-stream.ts";

export type GetStreamSpec = {
  open(lastId: string | null, signal: AbortSignal): Promise<Response>;
  readonly reading: Omit<Reading, "silence">;
  /** How long the stream may be silent before it is opened anew, ms. */
  readonly silence?: number;
  /** Ends the stream for good. */
  readonly signal: AbortSignal;
};

/** The status of a server that believes that an earlier stream of the session is still open. */
const conflict = 409;

/**
 * Keeps the stream open on which a legacy server speaks outside of any request. A refusal (4xx) ends that for good;
 * after anything else the stream is opened again, more slowly each time. Never throws; `isOpen` is called with each
 * change.
 */
export async function holdGetStream(spec: GetStreamSpec, isOpen: (open: boolean) => void): Promise<void> {
  const { open, reading, silence = silentMs, signal } = spec;
  const backoff = new Backoff();
  let lastId: string | null = null;
  let retry: number | null = null;
  while (!signal.aborted) {
    backoff.begin();
    const response: Response | null = await open(lastId, signal).catch(() => null);
    if (response && isEventStream(response)) {
      isOpen(true);
      const end: Resumption | null = await readEvents(response, { ...reading, silence }).catch(() => null);
      isOpen(false);
      lastId = end?.lastId ?? lastId;
      retry = end?.retry ?? retry;
    } else if (response) {
      void response.body?.cancel().catch(() => {});
      if (response.status !== conflict) {
        // A server that cannot resume the stream may still start it anew.
        if (response.status < 500 && lastId === null) return;
        lastId = null;
      }
    }
    await sleep(backoff.next(retry), signal);
  }
}
