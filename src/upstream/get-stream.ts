import type { Resumption } from "../mcp/sse.ts";
import { isEventStream, pauseBefore, readEvents, type Reading, rest } from "./event-stream.ts";

export type GetStreamSpec = {
  open(lastId: string | null, signal: AbortSignal): Promise<Response>;
  readonly reading: Reading;
  /** Ends it. */
  readonly signal: AbortSignal;
};

/** A stream that was up this long has recovered from whatever broke the ones before it, ms. */
const steady = 10_000;
/** Doublings of the pause between attempts. */
const mostTries = 6;

/**
 * Listens to what a legacy server says outside of any request, for as long as it serves such a stream: a refusal (4xx)
 * ends it for good, everything else is tried again ever more slowly. Never throws; `isOpen` is called with each change.
 */
export async function holdGetStream({ open, reading, signal }: GetStreamSpec, isOpen: (open: boolean) => void) {
  let lastId: string | null = null;
  let retry: number | null = null;
  for (let tries = 0; !signal.aborted;) {
    const since = performance.now();
    const response: Response | null = await open(lastId, signal).catch(() => null);
    if (response && isEventStream(response)) {
      isOpen(true);
      const end: Resumption | null = await readEvents(response, reading).catch(() => null);
      isOpen(false);
      lastId = end?.lastId ?? lastId;
      retry = end?.retry ?? retry;
    } else if (response) {
      void response.body?.cancel().catch(() => {});
      // What it cannot resume it may still start anew.
      if (response.status < 500 && lastId === null) return;
      lastId = null;
    }
    tries = performance.now() - since > steady ? 1 : Math.min(tries + 1, mostTries);
    await rest(pauseBefore(retry, tries), signal);
  }
}
