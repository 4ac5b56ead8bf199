import type { Resumption } from "../../mcp/sse.ts";
import { sleep } from "../../core/wait.ts";
import { Backoff } from "../backoff.ts";
import { isEventStream, readEvents, type Reading, silentMs } from "./event-stream.ts";

export type GetStreamSpec = {
  open(lastId: string | null, signal: AbortSignal): Promise<Response>;
  readonly reading: Omit<Reading, "silence">;
  /** How long it may be silent before it is opened anew, ms. */
  readonly silence?: number;
  /** The server refused to open it again: it may have lost the session. */
  refused(): Promise<void>;
  /** Ends it. */
  readonly signal: AbortSignal;
};

/** An earlier stream of the session is still open, as far as the server knows. */
const conflict = 409;
/** It serves no such stream. */
const notServed = 405;

/**
 * Listens to what a legacy server says outside of any request, for as long as it serves such a stream: one that it never
 * opened is not asked for again once it is refused (4xx), one that broke is tried again ever more slowly. Never throws; `isOpen` is called with each change.
 */
export async function holdGetStream(spec: GetStreamSpec, isOpen: (open: boolean) => void): Promise<void> {
  const { open, reading, silence = silentMs, refused, signal } = spec;
  const backoff = new Backoff();
  let opened = false;
  let lastId: string | null = null;
  let retry: number | null = null;
  while (!signal.aborted) {
    backoff.begin();
    const response: Response | null = await open(lastId, signal).catch(() => null);
    if (response && isEventStream(response)) {
      opened = true;
      isOpen(true);
      const end: Resumption | null = await readEvents(response, { ...reading, silence }).catch(() => null);
      isOpen(false);
      lastId = end?.lastId ?? lastId;
      retry = end?.retry ?? retry;
    } else if (response) {
      void response.body?.cancel().catch(() => {});
      if (response.status !== conflict) {
        const { status } = response;
        if (status === notServed || (status < 500 && !opened)) return;
        // A server that cannot resume the stream may still start it anew.
        lastId = null;
        if (status < 500) await refused();
      }
    }
    await sleep(backoff.next(retry), signal);
  }
}
