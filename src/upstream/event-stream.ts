import type { Ending } from "../core/cancel.ts";
import { createSseParser, type Resumption } from "../mcp/sse.ts";

/** Visible ASCII and spaces: what a header may carry. */
const sendable = /^[\x20-\x7e]{1,1024}$/;
/** What a stream waits before it is resumed when the server named no time, ms; and at most. */
const pause = { usual: 1_000, most: 30_000 };

/** How a stream is read. */
export type Reading = {
  /** Most bytes of one event. */
  readonly longest: number;
  received(text: string, event: string): void;
};

/** Whether the response is the kind of stream that was asked for. */
export function isEventStream({ status, headers }: Response): boolean {
  return status >= 200 && status < 300 && (headers.get("content-type") ?? "").startsWith("text/event-stream");
}

/** Reads events until the stream ends or breaks: from where on it can be resumed. Throws `result-too-large` only. */
export async function readEvents(response: Response, reading: Reading): Promise<Resumption & { broken: unknown }> {
  const { longest, received } = reading;
  const parser = createSseParser({
    maxEvent: longest,
    // An event without data only marks where the stream can be resumed.
    onEvent: ({ data, event }) => void (data !== "" && received(data, event)),
  });
  let broken: unknown = null;
  const chunks = response.body?.[Symbol.asyncIterator]();
  for (;;) {
    const chunk = await chunks?.next().catch((error: unknown) => {
      broken = error;
      return null;
    });
    if (!chunk || chunk.done) break;
    try {
      parser.push(chunk.value);
    } catch (error) {
      // What nobody reads would pile up.
      void chunks?.return?.().catch(() => {});
      throw error;
    }
  }
  const { lastId, retry } = parser.resumption;
  return { lastId: lastId !== null && sendable.test(lastId) ? lastId : null, retry, broken };
}

/** How long to wait before the `tries`-th attempt in a row to go on with a stream, ms. */
export function pauseBefore(retry: number | null, tries: number): number {
  return Math.min(pause.most, (retry ?? pause.usual) * 2 ** (tries - 1));
}

/** Resolves after `ms`, or at once when the signal ends. */
export async function rest(ms: number, signal: Ending): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const wake = (): void => resolve();
  signal.addEventListener("abort", wake, { once: true });
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", wake);
}
