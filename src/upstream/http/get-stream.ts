import type { Resumption } from "../../mcp/sse.ts";
import { sleep } from "../../core/wait.ts";
import { Backoff } from "../backoff.ts";
import { discard } from "./answer.ts";
import { isEventStream, readEvents, type Reading } from "./event-stream.ts";

type GetStreamOptions = {
  open(lastId: string | null, signal: AbortSignal): Promise<Response>;
  readonly reading: Reading;
  /** The server refused to open the stream again: it may have lost the session. */
  refused(): Promise<void>;
  /** Ends the stream for good. */
  readonly signal: AbortSignal;
};

/** The status of a server that believes that an earlier stream of the session is still open. */
const conflict = 409;
/** It serves no such stream. */
const notServed = 405;

/**
 * Keeps the stream open on which a legacy server speaks outside of any request. A refusal (4xx) of the first attempt
 * ends that for good; a stream that broke is opened again, more slowly each time. Never throws; `isOpen` is called with
 * each change.
 */
export async function holdGetStream(options: GetStreamOptions, isOpen: (open: boolean) => void): Promise<void> {
  const { open, reading, refused, signal } = options;
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
      const end: Resumption | null = await readEvents(response, reading).catch(() => null);
      isOpen(false);
      lastId = end?.lastId ?? lastId;
      retry = end?.retry ?? retry;
    } else if (response) {
      discard(response);
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
