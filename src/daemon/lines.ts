import { createLineReader } from "../mcp/lines.ts";

/** Reads standard input line by line until it ends or `signal` aborts; a line over `max` bytes is dropped and told. */
export async function readLines(max: number, onLine: (line: string) => void, signal: AbortSignal): Promise<void> {
  const reader = createLineReader({
    max,
    onLine: (line) => line.trim() !== "" && onLine(line),
    onOverflow: () => void process.stderr.write(`mcpgw: a line of over ${max} bytes was dropped\n`),
  });
  const stop = () => void process.stdin.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    for await (const chunk of process.stdin) reader.push(chunk);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
  reader.end();
}

/** An AbortSignal that fires when the process is asked to end. */
export function untilAsked(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(name, () => controller.abort());
  return controller.signal;
}
