import { after } from "../../core/clock.ts";
import { Failure } from "../../core/failure.ts";
import { Turn } from "../../core/turns.ts";
import { type Resumption, SseParser } from "../../mcp/sse.ts";
import type { LinkHost } from "../link/link.ts";
import { isType } from "./answer.ts";
import type { HttpWire, Place } from "./wire.ts";

/** An event id that a header can carry: visible ASCII and spaces. */
const sendable = /^[\x20-\x7e]{1,1024}$/;
/** Time after which a stream without even a comment is assumed to have lost its connection, ms. */
export const silentMs = 300_000;

/** How to read a stream. */
export type Reading = {
  /** Returns the current maximum size of an event, bytes. */
  longest(): number;
  /** Ends a stream that is silent for this long, ms; null if it may be silent forever. */
  readonly silence: number | null;
  received(text: string, event: string): void;
  /** Reports the bytes of an incomplete event that are held; 0 at the end. An error thrown here ends the reading. */
  held?(bytes: number): void;
};

/** What a link shares with its streams. */
export type StreamContext = {
  readonly host: LinkHost;
  readonly wire: HttpWire;
  /** Returns the current maximum size of a message, bytes. */
  longest(): number;
  /** Whether the link has used this id. */
  issued(id: string): boolean;
  /** Sends the answer to a server's request, or its progress; resolves once the server has accepted it. */
  reply(text: string, place: Place): Promise<void>;
};

/** Reports whether the response is a successful stream of events. */
export function isEventStream({ status, headers }: Response): boolean {
  return status >= 200 && status < 300 && isType(headers, "text/event-stream");
}

/**
 * Reads events until the stream ends or breaks; returns where to resume. Throws `result-too-large` and `held` errors.
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
    // Otherwise unread bytes would pile up.
    end();
  }
  const { lastId, retry } = parser.resumption;
  return { lastId: lastId !== null && sendable.test(lastId) ? lastId : null, retry, broken };
}

/** Reports whether reading ended because an event was too long. */
export const isTooLarge = (error: unknown): boolean => error instanceof Failure && error.code === "result-too-large";
