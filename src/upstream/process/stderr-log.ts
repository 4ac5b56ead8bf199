import type { Clock } from "../../core/clock.ts";
import { createRing } from "./ring.ts";
import { minSecretLength, maskable, maskSpelled, spellings } from "../../core/secret.ts";
import { copied, plain } from "../../core/text.ts";
import { within } from "../../core/wait.ts";
import { createWindow } from "../window.ts";

const ringSize = 1024 ** 2;
const maxLineLength = 8 * 1024;
/** Bytes of stderr that are kept per second, for all instances of a server together. */
const perSecond = 256 * 1024;
/** Bytes beyond that limit that are held back, not dropped: the last output of a process explains why it ended. */
const maxHeldBytes = 4 * 1024;
const secondUs = 1_000_000;
const newline = 10;
const nothing = new Uint8Array();

/** The stderr output of a server's processes: bounded, safe to print, without secrets. */
export type StderrLog = {
  writer(pid: number): StderrWriter;
  last(lines: number): string[];
  /**
   * Yields the newest lines, then new lines until `signal` aborts or the log is closed. For a reader that is too slow,
   * yields the number of lines that were evicted before it read them.
   */
  follow(lines: number, signal: AbortSignal): AsyncGenerator<string | { readonly gap: number }>;
  /** Adds a complete line of an earlier log. */
  add(line: string): void;
  /** Ends all `follow` calls once they have read what was written. What processes still write goes to `successor`. */
  close(successor: StderrLog | null): void;
};

/** Receives the stderr of one process. */
export type StderrWriter = {
  /** Accepts every chunk, so that the process never blocks on a full pipe. */
  write(chunk: Uint8Array): void;
  /** Releases what is still held back; called when the process is gone. */
  end(): void;
};

/**
 * Creates a log that hides secrets: `own` are the values of the server's environment, `secrets` yields all currently
 * known ones. Each line of a multi-line secret is hidden.
 */
export function createStderrLog(own: readonly string[], secrets: () => readonly string[], clock: Clock): StderrLog {
  const ring = createRing(ringSize);
  const hidden = createHidden(own, secrets);
  const inSecond = createWindow(secondUs, clock.mono);
  let closed = false;
  let heir: StderrLog | null = null;
  let news: PromiseWithResolvers<void> | null = null;
  const wake = (): void => {
    news?.resolve();
    news = null;
  };

  const add = (line: string): void => {
    if (heir) return heir.add(line);
    ring.push(line);
    wake();
  };

  const keep = (pid: number, line: string, whole: boolean): void => {
    const { values, longestSecret, longest } = hidden();
    const text = maskSpelled(line, values);
    // The end of a truncated line may be the beginning of a secret.
    const unsafe = line.length >= longest ? longestSecret : whole ? 0 : secretStartAtEnd(text, values);
    const shown = text.slice(0, Math.min(maxLineLength, Math.max(0, text.length - unsafe)));
    const tail = shown.length < text.length ? "… (cut)" : "";
    add(`${new Date(clock.now() / 1000).toISOString()} ${pid} ${copied(plain(shown))}${tail}`);
  };

  return {
    writer: (pid) =>
      createWriter({
        keep: (line, whole) => keep(pid, line, whole),
        longest: () => hidden().longest,
        exceeds: (bytes) => inSecond(bytes) - bytes >= perSecond,
      }),
    last: (lines) => ring.last(lines),
    add,
    async *follow(lines, signal) {
      let next = Math.max(ring.oldest, ring.pushed - lines);
      while (!signal.aborted) {
        const gap = ring.oldest - next;
        if (gap > 0) {
          next += gap;
          yield { gap };
        } else if (next < ring.pushed) yield ring.at(next++);
        else if (closed) return;
        else await within((news ??= Promise.withResolvers()).promise, null, signal, () => {});
      }
    },
    close(successor) {
      closed = true;
      heir = successor;
      wake();
    },
  };
}

type WriterHost = {
  /** Takes a line; `whole` is false if it may continue. */
  keep(line: string, whole: boolean): void;
  /** Returns the maximum number of characters of a line that are examined. */
  longest(): number;
  /** Whether these bytes exceed what the log accepts now. */
  exceeds(bytes: number): boolean;
};

function createWriter({ keep, longest, exceeds }: WriterHost): StderrWriter {
  const decoder = new TextDecoder();
  let rest = "";
  let held: Uint8Array = nothing;
  let dropped = 0;
  const read = (chunk: Uint8Array): void => {
    const most = longest();
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = (lines.pop() ?? "").slice(0, most);
    for (const line of lines) keep(line.replace(/\r$/, "").slice(0, most), true);
  };
  const hold = (chunk: Uint8Array): void => {
    const surplus = held.length + chunk.length - maxHeldBytes;
    held = Buffer.concat([held, chunk.subarray(-maxHeldBytes)]).subarray(-maxHeldBytes);
    if (surplus <= 0) return;
    dropped += surplus;
    rest = "";
  };
  const readHeld = (): void => {
    // The beginning of the first line is missing.
    const from = dropped > 0 ? held.indexOf(newline) + 1 || held.length : 0;
    dropped += from;
    if (dropped > 0) keep(`(${dropped} bytes were written faster than the log accepts them and were dropped)`, true);
    read(held.subarray(from));
    held = nothing;
    dropped = 0;
  };
  return {
    write: (chunk) => {
      if (exceeds(chunk.length)) return hold(chunk);
      readHeld();
      read(chunk);
    },
    end: () => {
      readHeld();
      const last = rest + decoder.decode();
      rest = "";
      if (last !== "") keep(last, false);
    },
  };
}

/** Returns the length of the longest end of a text that is the beginning of one of the values. */
function secretStartAtEnd(text: string, values: readonly string[]): number {
  const begins = (length: number): boolean => values.some((value) => value.startsWith(text.slice(-length)));
  let length = Math.min(text.length, values[0]?.length ?? 0);
  while (length > 0 && !begins(length)) length--;
  return length;
}

/** Returns a function for the values to hide and the length of line to examine, recomputed when the secrets change. */
function createHidden(own: readonly string[], secrets: () => readonly string[]) {
  const work = (known: readonly string[]) => {
    const lines = [...own, ...known].flatMap((secret) => [secret, ...secret.split(/\r?\n/)]);
    const values = maskable(lines.filter((secret) => secret.length >= minSecretLength).flatMap(spellings));
    const longestSecret = values[0]?.length ?? 0;
    return { known, values, longestSecret, longest: maxLineLength + longestSecret + 1 };
  };
  let now = work(secrets());
  return () => {
    const known = secrets();
    if (known !== now.known) now = work(known);
    return now;
  };
}
