import type { Clock } from "../../core/clock.ts";
import { createRing } from "../../core/ring.ts";
import { leastSecret, maskable, maskValues } from "../../core/secret.ts";
import { plain } from "../../core/text.ts";
import { createWindow } from "../window.ts";

const ringSize = 1024 ** 2;
const longestLine = 8 * 1024;
/** Bytes of stderr that are kept per second, of all instances of a server together. */
const perSecond = 256 * 1024;
const secondUs = 1_000_000;

/** The stderr output of a server's processes: bounded, safe to print, without secrets. */
export type StderrLog = {
  /** Takes the stderr of one process. It takes every chunk, so that the process never blocks on a full pipe. */
  writer(pid: number): (chunk: Uint8Array) => void;
  last(lines: number): string[];
};

/** `own` are the values of the server's environment, `secrets` yields all that are known now; of several lines, each is hidden. */
export function createStderrLog(own: readonly string[], secrets: () => readonly string[], clock: Clock): StderrLog {
  const ring = createRing(ringSize);
  const hidden = createHidden(own, secrets);
  const budget = createBudget(clock);

  const keep = (pid: number, line: string): void => {
    const { values, longestSecret, longest } = hidden();
    const text = maskValues(line, values);
    // The end of a line that was cut may be the beginning of a secret.
    const end = line.length < longest ? text.length : Math.max(0, text.length - longestSecret);
    const shown = text.slice(0, Math.min(longestLine, end));
    const tail = shown.length < text.length ? "… (cut)" : "";
    ring.push(`${new Date(clock.now() / 1000).toISOString()} ${pid} ${plain(shown)}${tail}`);
  };

  const writer = (pid: number) => {
    const decoder = new TextDecoder();
    let rest = "";
    return (chunk: Uint8Array): void => {
      const dropped = budget(chunk.length);
      if (dropped === null) {
        rest = "";
        return;
      }
      if (dropped > 0) keep(pid, `(${dropped} bytes were written faster than the log takes them, and dropped)`);
      const { longest } = hidden();
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = (lines.pop() ?? "").slice(0, longest);
      for (const line of lines) keep(pid, line.replace(/\r$/, "").slice(0, longest));
    };
  };
  return { writer, last: (lines) => ring.last(lines) };
}

/** What is hidden now, and how much of a line has to be looked at for it; worked out anew only when the secrets change. */
function createHidden(own: readonly string[], secrets: () => readonly string[]) {
  const work = (known: readonly string[]) => {
    const lines = [...own, ...known].flatMap((secret) => [secret, ...secret.split(/\r?\n/)]);
    const values = maskable(lines.filter((secret) => secret.length >= leastSecret));
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

/** For each chunk: how many bytes were dropped before it; null if the chunk must be dropped too. */
function createBudget(clock: Clock): (bytes: number) => number | null {
  const inSecond = createWindow(secondUs, clock.mono);
  let dropped = 0;
  return (bytes) => {
    if (inSecond(bytes) - bytes >= perSecond) {
      dropped += bytes;
      return null;
    }
    const before = dropped;
    dropped = 0;
    return before;
  };
}
