import { ByteLine } from "./byte-line.ts";

export type LineReaderOptions = {
  /** Returns the maximum bytes of a line without its line ending; called again as bytes arrive. */
  readonly max: () => number;
  readonly onLine: (line: string) => void;
  /** Called once for a line that is too long, with its first `max` bytes as text; the rest is dropped. */
  readonly onOverflow: (head: string) => void;
};

const lineFeed = 10;
const nothing = new Uint8Array(0);

/** Splits a byte stream into lines (MCP stdio: one message per line), ended by LF or CRLF; skips blank lines. */
export class LineReader {
  readonly #options: LineReaderOptions;
  readonly #line = new ByteLine();
  #dropping = false;

  constructor(options: LineReaderOptions) {
    this.#options = options;
  }

  /** Processes the next bytes of the stream; the caller may reuse the chunk afterwards. */
  push(chunk: Uint8Array): void {
    let from = 0;
    for (let at = chunk.indexOf(lineFeed); at >= 0; at = chunk.indexOf(lineFeed, from)) {
      this.#finish(chunk.subarray(from, at));
      from = at + 1;
    }
    const rest = chunk.subarray(from);
    if (rest.length > 0 && this.#fits(rest)) this.#line.append(rest);
  }

  /** Ends the stream; an unterminated last line counts too. */
  end(): void {
    this.#finish(nothing);
  }

  #fits(more: Uint8Array): boolean {
    const { max, onOverflow } = this.#options;
    const room = max() - this.#line.size;
    if (!this.#dropping && more.length > room) {
      this.#dropping = true;
      onOverflow(this.#line.take(more.subarray(0, room)));
    }
    return !this.#dropping;
  }

  #finish(last: Uint8Array): void {
    const text = this.#fits(last) ? this.#line.take(last) : "";
    this.#dropping = false;
    const whole = text.endsWith("\r") ? text.slice(0, -1) : text;
    if (whole.trim() !== "") this.#options.onLine(whole);
  }
}

/** Encodes one message as a line. Line breaks in JSON occur only between tokens, so a space can replace them. */
export function encodeLine(message: string): string {
  return `${message.includes("\n") || message.includes("\r") ? message.replace(/[\r\n]+/g, " ") : message}\n`;
}
