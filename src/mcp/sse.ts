import { Failure } from "../core/failure.ts";
import { createByteLine } from "./byte-line.ts";

/** One event of a stream (WHATWG HTML, server-sent events). */
export type SseEvent = { readonly event: string; readonly data: string; readonly id: string | null };

export type SseParserOptions = {
  /** Most bytes of one event; asked anew for each. */
  readonly maxEvent: () => number;
  readonly onEvent: (event: SseEvent) => void;
};

export type SseParser = {
  /**
   * Takes the next bytes of the stream. Throws `result-too-large` beyond the limit; then the parser must not be used
   * again.
   */
  push(chunk: Uint8Array): void;
  /** How to continue the stream after it broke. */
  readonly resumption: Resumption;
};

/** The id of the last complete event, and how long to wait first (ms); null if the server did not say. */
export type Resumption = { readonly lastId: string | null; readonly retry: number | null };

/** A comment line: keeps proxies from ending a silent stream. */
export const keepAlive = ":\n\n";

/** One message as an event; the legacy era numbers its events with `id` for resumption. */
export function encodeEvent(text: string, id?: string): string {
  const data = text.includes("\n") || text.includes("\r") ? text.replace(/\r\n|\r|\n/g, "\ndata: ") : text;
  return `${id === undefined ? "" : `id: ${id}\n`}event: message\ndata: ${data}\n\n`;
}

/** Splits a byte stream into events. An incomplete event at the end of the stream is dropped, as the standard says. */
export function createSseParser({ maxEvent, onEvent }: SseParserOptions): SseParser {
  const resumption = { lastId: null, retry: null };
  const builder = createEventBuilder(onEvent, resumption);
  const line = createByteLine();
  let size = 0;
  let afterCarriageReturn = false;

  const grow = (bytes: number): void => {
    const most = maxEvent();
    size += bytes;
    if (size <= most) return;
    line.clear();
    throw new Failure("result-too-large", `The server's answer is larger than ${most} bytes.`);
  };
  return {
    resumption,
    push(chunk) {
      let from = afterCarriageReturn && chunk[0] === lineFeed ? 1 : 0;
      if (chunk.length > 0) afterCarriageReturn = false;
      const breaks = createBreaks(chunk);
      for (let at = breaks(from); at < chunk.length; at = breaks(from)) {
        grow(at - from);
        if (builder(line.take(chunk.subarray(from, at)))) size = 0;
        from = at + 1;
        if (chunk[at] !== carriageReturn) continue;
        if (from === chunk.length) afterCarriageReturn = true;
        else if (chunk[from] === lineFeed) from++;
      }
      if (from >= chunk.length) return;
      grow(chunk.length - from);
      line.append(chunk.subarray(from));
    },
  };
}

const lineFeed = 10;
const carriageReturn = 13;

/**
 * Finds the next CR or LF at or after an index; the chunk's length if there is none. Each byte is searched for only
 * once.
 */
function createBreaks(chunk: Uint8Array): (from: number) => number {
  const next = (byte: number, from: number): number => {
    const at = chunk.indexOf(byte, from);
    return at < 0 ? chunk.length : at;
  };
  let feed = -1;
  let carriage = -1;
  return (from) => {
    if (feed < from) feed = next(lineFeed, from);
    if (carriage < from) carriage = next(carriageReturn, from);
    return Math.min(feed, carriage);
  };
}

/** Builds events from the lines of a stream. Returns true if no part of an event is pending. */
function createEventBuilder(
  onEvent: (event: SseEvent) => void,
  resumption: { lastId: string | null; retry: number | null },
): (line: string) => boolean {
  let event = "";
  let id: string | null = null;
  let data: string[] = [];
  return (line) => {
    if (line === "") {
      resumption.lastId = id;
      if (data.length > 0) onEvent({ event: event || "message", data: data.join("\n"), id });
      event = "";
      data = [];
      return true;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const start = line[colon + 1] === " " ? colon + 2 : colon + 1;
    const value = colon < 0 ? "" : line.slice(start);
    if (field === "data") data.push(value);
    else if (field === "event") event = value;
    else if (field === "id" && !value.includes("\0")) id = value;
    else if (field === "retry" && /^\d{1,9}$/.test(value)) resumption.retry = Number(value);
    return data.length === 0;
  };
}
