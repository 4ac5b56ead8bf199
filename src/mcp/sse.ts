import { Failure } from "../core/failure.ts";
import { ByteLine } from "./byte-line.ts";

/** One event of a stream (WHATWG HTML, server-sent events). */
export type SseEvent = { readonly event: string; readonly data: string; readonly id: string | null };

type SseParserOptions = {
  /** Returns the maximum size of one event in bytes; called again as bytes arrive. */
  readonly maxEvent: () => number;
  readonly onEvent: (event: SseEvent) => void;
};

/** The id of the last complete event and the delay before reconnecting (ms); null if the server did not send them. */
export type Resumption = { readonly lastId: string | null; readonly retry: number | null };

/** A comment line, which keeps proxies from closing an idle stream. */
export const keepAlive = ":\n\n";

/** Encodes one message as an event; the legacy era numbers its events with `id` for resumption. */
export function encodeEvent(text: string, id?: string): string {
  const data = text.includes("\n") || text.includes("\r") ? text.replace(/\r\n|\r|\n/g, "\ndata: ") : text;
  return `${id === undefined ? "" : `id: ${id}\n`}event: message\ndata: ${data}\n\n`;
}

const lineFeed = 10;
const carriageReturn = 13;

/** Splits a byte stream into events. Drops an incomplete event at the end of the stream, as the standard requires. */
export class SseParser {
  readonly #options: SseParserOptions;
  readonly #line = new ByteLine();
  #size = 0;
  #afterCarriageReturn = false;
  /** The fields of the event that is not complete yet. */
  #event = "";
  #id: string | null = null;
  #data: string[] = [];
  #lastId: string | null = null;
  #retry: number | null = null;

  constructor(options: SseParserOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#size;
  }

  /** How to resume the stream after a disconnect. */
  get resumption(): Resumption {
    return { lastId: this.#lastId, retry: this.#retry };
  }

  /** Processes the next bytes of the stream. Throws `result-too-large`; the parser must not be used after that. */
  push(chunk: Uint8Array): void {
    let from = this.#afterCarriageReturn && chunk[0] === lineFeed ? 1 : 0;
    if (chunk.length > 0) this.#afterCarriageReturn = false;
    const breaks = createBreaks(chunk);
    for (let at = breaks(from); at < chunk.length; at = breaks(from)) {
      this.#grow(at - from);
      this.#read(this.#line.take(chunk.subarray(from, at)));
      if (this.#data.length === 0) this.#size = 0;
      from = at + 1;
      if (chunk[at] !== carriageReturn) continue;
      if (from === chunk.length) this.#afterCarriageReturn = true;
      else if (chunk[from] === lineFeed) from++;
    }
    if (from >= chunk.length) return;
    this.#grow(chunk.length - from);
    this.#line.append(chunk.subarray(from));
  }

  #grow(bytes: number): void {
    const most = this.#options.maxEvent();
    this.#size += bytes;
    if (this.#size <= most) return;
    this.#line.clear();
    throw new Failure("result-too-large", `The server's answer is larger than ${most} bytes.`);
  }

  #read(line: string): void {
    if (line === "") return this.#complete();
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const start = line[colon + 1] === " " ? colon + 2 : colon + 1;
    const value = colon < 0 ? "" : line.slice(start);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d{1,9}$/.test(value)) this.#retry = Number(value);
  }

  #complete(): void {
    const [event, data, id] = [this.#event || "message", this.#data, this.#id];
    this.#lastId = id;
    if (data.length > 0) this.#options.onEvent({ event, data: data.join("\n"), id });
    this.#event = "";
    this.#data = [];
  }
}

/** Returns a search for the next CR or LF, or the chunk's length if there is none; it scans each byte only once. */
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
