import { binary } from "../build.ts";
import { startGateway } from "./gateway.ts";
import { median } from "./stats.ts";

/** Median times in ms, and memory in MiB of a gateway without servers. */
export type Startup = { readonly versionMs: number; readonly readyMs: number; readonly idleMiB: number | null };

async function version(): Promise<number> {
  const started = performance.now();
  await Bun.spawn([binary, "--version"], { stdin: "ignore", stdout: "ignore", stderr: "inherit" }).exited;
  return performance.now() - started;
}

/** Measures `--version` from spawn to exit, and a daemon without servers from spawn to ready. */
export async function measureStartup(dir: string, rounds: number): Promise<Startup> {
  const versions: number[] = [];
  const starts: number[] = [];
  const memory: number[] = [];
  // The first run reads the binary from disk and is not counted.
  await version();
  for (let round = 0; round < rounds * 4; round++) versions.push(await version());
  for (let round = 0; round < rounds; round++) {
    const gateway = await startGateway(dir, "strict", []);
    starts.push(gateway.readyMs);
    if (gateway.idleMiB !== null) memory.push(gateway.idleMiB);
    await gateway.stop();
  }
  return {
    versionMs: median(versions),
    readyMs: median(starts),
    idleMiB: memory.length > 0 ? median(memory) : null,
  };
}
