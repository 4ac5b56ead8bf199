import { createByteLine } from "./byte-line.ts";

export type LineReaderOptions = {
  /** Most bytes of a line, its end not counted; asked anew for each. */
  readonly max: () => number;
  readonly onLine: (line: string) => void;
  /**
   * Called once for each line that is too long, with its first `max` bytes as text. The rest of the line is dropped.
   */
  readonly onOverflow: (head: string) => void;
};

export type LineReader = {
  /** Takes the next bytes of the stream; the caller may reuse the chunk afterwards. */
  push(chunk: Uint8Array): void;
  /** The stream has ended; an unterminated last line counts too. */
  end(): void;
};

const lineFeed = 10;
const nothing = new Uint8Array(0);

/**
 * Splits a byte stream into lines (MCP stdio: one message per line). LF or CRLF ends a line; blank lines are skipped.
 */
export function createLineReader({ max, onLine, onOverflow }: LineReaderOptions): LineReader {
  const line = createByteLine();
  let dropping = false;

  const fits = (more: Uint8Array): boolean => {
    const most = max();
    if (!dropping && line.size() + more.length > most) {
      dropping = true;
      onOverflow(line.take(more.subarray(0, most - line.size())));
    }
    return !dropping;
  };
  const finish = (last: Uint8Array): void => {
    const text = fits(last) ? line.take(last) : "";
    dropping = false;
    const whole = text.endsWith("\r") ? text.slice(0, -1) : text;
    if (whole.trim() !== "") onLine(whole);
  };

  return {
    push(chunk) {
      let from = 0;
      for (let at = chunk.indexOf(lineFeed); at >= 0; at = chunk.indexOf(lineFeed, from)) {
        finish(chunk.subarray(from, at));
        from = at + 1;
      }
      const rest = chunk.subarray(from);
      if (rest.length > 0 && fits(rest)) line.append(rest);
    },
    end: () => finish(nothing),
  };
}

/** Writes one message as a line. Line breaks in JSON stand only between tokens, so a space may replace them. */
export function encodeLine(message: string): string {
  return `${message.includes("\n") || message.includes("\r") ? message.replace(/[\r\n]+/g, " ") : message}\n`;
}
