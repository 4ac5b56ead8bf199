import type { Resumption } from "../../mcp/sse.ts";
import { sleep } from "../../core/wait.ts";
import { Backoff } from "../backoff.ts";
import { isEventStream, readEvents, type Reading, silentMs } from "./event-stream.ts";

export type GetStreamSpec = {
  open(lastId: string | null, signal: AbortSignal): Promise<Response>;
  readonly reading: Omit<Reading, "silence">;
  /** How long it may be silent before it is opened anew, ms. */
  readonly silence?: number;
  /** Ends it. */
  readonly signal: AbortSignal;
};

/** An earlier stream of the session is still open, as far as the server knows. */
const conflict = 409;

/**
 * Listens to what a legacy server says outside of any request, for as long as it serves such a stream: a refusal (4xx)
 * ends it for good, everything else is tried again ever more slowly. Never throws; `isOpen` is called with each change.
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
