import { onAbort } from "../core/cancel.ts";
import { messageOf } from "../core/error-text.ts";
import { LineReader, type LineReaderOptions } from "../mcp/lines.ts";

export type LineTakers = Pick<LineReaderOptions, "onLine" | "onOverflow"> & {
  /** Backpressure: called after each chunk; reading continues when it resolves. */
  readonly taken?: () => Promise<unknown>;
};

/** Maximum bytes of a line. A longer line is not a message, and waiting for its end could use a CPU core forever. */
export const maxLine = 128 * 1024 ** 2;

const lineFeed = 10;

/**
 * Reads standard input line by line until it ends or `signal` aborts, and resolves to null. If reading fails or a line
 * is longer than both `max` and `maxLine`, resolves to a sentence that says so.
 */
export async function readLines(
  max: number,
  { taken, ...takers }: LineTakers,
  signal: AbortSignal,
): Promise<string | null> {
  const reader = new LineReader({ max: () => max, ...takers });
  const unhook = onAbort(signal, () => void process.stdin.destroy());
  const most = Math.max(max, maxLine);
  let unended = 0;
  try {
    for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
      const end = chunk.indexOf(lineFeed);
      if (unended + (end < 0 ? chunk.length : end) > most)
        return `The client sent a line of more than ${Math.floor(most / 1024 ** 2)} MiB.`;
      unended = end < 0 ? unended + chunk.length : chunk.length - 1 - chunk.lastIndexOf(lineFeed);
      reader.push(chunk);
      await taken?.();
    }
  } catch (error) {
    // A socket is reset if its peer died before reading everything.
    if (!signal.aborted) return `Standard input can no longer be read: ${messageOf(error)}.`;
  } finally {
    unhook();
  }
  reader.end();
  return null;
}

/** Standard output or standard error, one line at a time. */
export class LineWriter {
  readonly #stream: NodeJS.WriteStream;
  #queued = 0;
  #waiting: (() => void)[] = [];
  #fail: (error: Error) => void = () => {};

  constructor(stream: NodeJS.WriteStream = process.stdout) {
    this.#stream = stream;
    stream.on("error", (error) => this.#fail(error));
  }

  /** Sets the function that is called if a write fails, such as on a full disk. */
  onFailure(fail: (error: Error) => void): void {
    this.#fail = fail;
  }

  /** Bytes not yet read. Counted here because in Bun `writableLength` is always 0. */
  get queued(): number {
    return this.#queued;
  }

  write(line: string): void {
    const bytes = Buffer.byteLength(line);
    this.#queued += bytes;
    this.#stream.write(line, (error) => {
      if (error) this.#fail(error);
      this.#queued -= bytes;
      if (this.#queued === 0) for (const resolve of this.#waiting.splice(0)) resolve();
    });
  }

  /** Resolves once everything has been read. */
  drained(): Promise<void> {
    if (this.#queued === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** What a process that serves standard input and output gets from its parent. */
export type Streams = {
  readonly output: LineWriter;
  /** Fires when the process is asked to end. */
  readonly asked: AbortSignal;
};

/** Reports on standard error that requests were dropped because standard input ended. */
export function reportAbandoned(): void {
  const advice = "a client must keep it open until it has received all responses";
  process.stderr.write(`mcpgw: standard input ended, so requests without a response were abandoned: ${advice}\n`);
}
