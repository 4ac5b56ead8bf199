import type { Clock } from "../../core/clock.ts";
import { createRing } from "./ring.ts";
import { leastSecret, maskable, maskSpelled, spellings } from "../../core/secret.ts";
import { copied, plain } from "../../core/text.ts";
import { within } from "../../core/wait.ts";
import { createWindow } from "../window.ts";

const ringSize = 1024 ** 2;
const longestLine = 8 * 1024;
/** Bytes of stderr that are kept per second, of all instances of a server together. */
const perSecond = 256 * 1024;
/**
 * Of what exceeds that, the newest bytes are held back and not dropped: the last words of a process say why it ended.
 */
const mostHeld = 4 * 1024;
const secondUs = 1_000_000;
const newline = 10;
const nothing = new Uint8Array();

/** The stderr output of a server's processes: bounded, safe to print, without secrets. */
export type StderrLog = {
  writer(pid: number): StderrWriter;
  last(lines: number): string[];
  /**
   * The newest lines, then those that come, until `signal` aborts or the log is closed. A reader that is too slow is
   * told how many left the log before it got them.
   */
  follow(lines: number, signal: AbortSignal): AsyncGenerator<string | { readonly gap: number }>;
  /** Takes a finished line of an earlier log. */
  add(line: string): void;
  /** Ends all following, once what was written has been read. What processes still write goes to `successor`. */
  close(successor: StderrLog | null): void;
};

/** Takes the stderr of one process. */
export type StderrWriter = {
  /** Takes every chunk, so that the process never blocks on a full pipe. */
  write(chunk: Uint8Array): void;
  /** Shows what is still held back; called when the process is gone. */
  end(): void;
};

/**
 * `own` are the values of the server's environment, `secrets` yields all that are known now; of several lines, each is
 * hidden.
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
    // The end of a line that was cut may be the beginning of a secret.
    const unsafe = line.length >= longest ? longestSecret : whole ? 0 : begunAtEnd(text, values);
    const shown = text.slice(0, Math.min(longestLine, Math.max(0, text.length - unsafe)));
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
  /** Takes a line; `whole` is false if it may go on. */
  keep(line: string, whole: boolean): void;
  /** Most characters of a line that are looked at. */
  longest(): number;
  /** Whether these bytes are more than the log takes now. */
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
    const surplus = held.length + chunk.length - mostHeld;
    held = Buffer.concat([held, chunk.subarray(-mostHeld)]).subarray(-mostHeld);
    if (surplus <= 0) return;
    dropped += surplus;
    rest = "";
  };
  const readHeld = (): void => {
    // Of the first line the beginning is missing.
    const from = dropped > 0 ? held.indexOf(newline) + 1 || held.length : 0;
    dropped += from;
    if (dropped > 0) keep(`(${dropped} bytes were written faster than the log takes them, and dropped)`, true);
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

/** The length of the longest end of a text with which one of the values begins. */
function begunAtEnd(text: string, values: readonly string[]): number {
  const begins = (length: number): boolean => values.some((value) => value.startsWith(text.slice(-length)));
  let length = Math.min(text.length, values[0]?.length ?? 0);
  while (length > 0 && !begins(length)) length--;
  return length;
}

/**
 * What is hidden now, and how much of a line has to be looked at for it; worked out anew only when the secrets change.
 */
function createHidden(own: readonly string[], secrets: () => readonly string[]) {
  const work = (known: readonly string[]) => {
    const lines = [...own, ...known].flatMap((secret) => [secret, ...secret.split(/\r?\n/)]);
    const values = maskable(lines.filter((secret) => secret.length >= leastSecret).flatMap(spellings));
    const longestSecret = values[0]?.length ?? 0;
    return { known, values, longestSecret, longest: longestLine + longestSecret + 1 };
  };
  let now = work(secrets());
  return () => {
    const known = secrets();
    if (known !== now.known) now = work(known);
    return now;
  };
}
