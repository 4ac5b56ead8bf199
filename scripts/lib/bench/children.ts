import { linesOf } from "../../../test/support/seen.ts";
import { root } from "../build.ts";

/** A process of the run, stopped at its end. */
export type Running = { readonly pid: number; stop(): Promise<void> };

export type Spec = {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly stdout?: "pipe" | "ignore";
};

/** Starts a long-running process from the project's root. */
export function start({ command, env, stdout = "ignore" }: Spec): Running & { readonly firstLine: Promise<string> } {
  const child = Bun.spawn([...command], {
    cwd: root,
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout,
    stderr: "inherit",
  });
  return {
    pid: child.pid,
    firstLine: stdout === "pipe" ? readLine(child.stdout as ReadableStream<Uint8Array>) : Promise.resolve(""),
    async stop() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
      await child.exited;
      clearTimeout(timer);
    },
  };
}

async function readLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  for await (const line of linesOf(stream)) return line;
  throw new Error("the process ended before it printed a line");
}

/** Returns the resident memory of a process in MiB, from `VmRSS`; null if there is no /proc. */
export async function residentMiB(pid: number): Promise<number | null> {
  const text = await Bun.file(`/proc/${pid}/status`)
    .text()
    .catch(() => "");
  const kib = /VmRSS:\s+(\d+) kB/.exec(text)?.[1];
  return kib === undefined ? null : Number(kib) / 1024;
}

/** Waits until `url` answers 2xx; throws after `ms`. */
export async function reachable(url: string, ms: number): Promise<void> {
  const deadline = performance.now() + ms;
  for (;;) {
    const ok = await fetch(url, { signal: AbortSignal.timeout(1000) }).then(
      (response) => response.ok,
      () => false,
    );
    if (ok) return;
    if (performance.now() > deadline) throw new Error(`${url} did not answer within ${ms} ms`);
    await Bun.sleep(1);
  }
}

/** Returns a free TCP port of the loopback interface. */
export function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}
