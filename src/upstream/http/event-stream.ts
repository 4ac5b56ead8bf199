import { after } from "../../core/clock.ts";
import { Failure } from "../../core/failure.ts";
import { Turn } from "../../core/turns.ts";
import { type Resumption, SseParser } from "../../mcp/sse.ts";
import type { LinkHost } from "../link/link.ts";
import { isType } from "./answer.ts";
import type { HttpWire, Place } from "./wire.ts";

/** An event id that a header may carry: visible ASCII and spaces. */
const sendable = /^[\x20-\x7e]{1,1024}$/;
/** A stream without even a comment for this long may have lost its connection unnoticed, ms. */
export const silentMs = 300_000;

/** How a stream is read. */
export type Reading = {
  /** Most bytes of one event, as things are now. */
  longest(): number;
  /** Ends a stream that was silent for this long, ms; null where a stream may be silent for ever. */
  readonly silence: number | null;
  received(text: string, event: string): void;
  /** So many bytes of an event that is not complete are held; none at the end. What this throws ends the reading. */
  held?(bytes: number): void;
};

/** What a link shares with the streams that it reads. */
export type StreamContext = {
  readonly host: LinkHost;
  readonly wire: HttpWire;
  /** Most bytes of a message, as things are now. */
  longest(): number;
  /** Whether the link gave out this id. */
  issued(id: string): boolean;
  /** Sends the answer to a request of the server, or the progress with it; resolves once the server has taken it. */
  reply(text: string, place: Place): Promise<void>;
};

/** Whether the response is a stream of events, and no error. */
export function isEventStream({ status, headers }: Response): boolean {
  return status >= 200 && status < 300 && isType(headers, "text/event-stream");
}

/**
 * Reads events until the stream ends or breaks; returns where it can be resumed. Throws only `result-too-large`, and
 * what `held` throws.
 */
export async function readEvents(response: Response, reading: Reading): Promise<Resumption & { broken: unknown }> {
  const { longest, silence, received, held } = reading;
  const parser = new SseParser({
    maxEvent: longest,
    // An event without data only marks where the stream can be resumed.
    onEvent: ({ data, event }) => void (data !== "" && received(data, event)),
  });
  const take = (piece: Uint8Array): void => parser.push(piece);
  const turn = new Turn();
  let broken: unknown = null;
  const reader = response.body?.getReader();
  const end = (): void => void reader?.cancel().catch(() => {});
  const watch = (): (() => void) | null => (silence === null ? null : after(silence, end));
  let stopWatch = watch();
  try {
    for (;;) {
      const chunk = await reader?.read().catch((error: unknown) => {
        broken = error;
        return null;
      });
      if (!chunk || chunk.done) break;
      stopWatch?.();
      stopWatch = watch();
      await turn.feed(chunk.value, take);
      held?.(parser.size);
    }
  } finally {
    stopWatch?.();
    held?.(0);
    // Bytes that nobody reads any more would pile up.
    end();
  }
  const { lastId, retry } = parser.resumption;
  return { lastId: lastId !== null && sendable.test(lastId) ? lastId : null, retry, broken };
}

/** Whether reading ended since an event was too long. */
export const isTooLarge = (error: unknown): boolean => error instanceof Failure && error.code === "result-too-large";
