import { join } from "node:path";
import { linesOf } from "../../../test/support/seen.ts";
import type { Sample } from "./load.ts";
import { sampleOf } from "./stats.ts";

/** Measures calls of the stdio upstream without a gateway: `callers` requests in flight on one child. */
export async function measurePipe(callers: number, seconds: number): Promise<Sample> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "upstream-stdio.ts")], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const latencies: number[] = [];
  const sent: number[] = [];
  const started = performance.now();
  const end = started + seconds * 1000;
  const send = (id: number): void => {
    sent[id] = performance.now();
    const params = { name: "echo", arguments: { text: "ping" } };
    void child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params })}\n`);
  };
  for (let id = 0; id < callers; id++) send(id);
  void child.stdin.flush();
  for await (const line of linesOf(child.stdout)) {
    const { id } = JSON.parse(line) as { id: number };
    const now = performance.now();
    latencies.push(now - (sent[id] ?? now));
    if (now >= end) break;
    send(id);
    void child.stdin.flush();
  }
  child.kill();
  await child.exited;
  return sampleOf(latencies, started, 0);
}
