import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readRegularSync } from "../../core/files.ts";
import type { Logger } from "../../core/log.ts";
import { readProcess } from "./process-table.ts";
import { runVariable } from "./reaper.ts";
import { killFamily } from "./tree.ts";

/**
 * Ends the processes that the previous run of this chain left behind if its reaper died too, and records this run for
 * the next start. Throws if such a process does not die, since it would work on a caller's data next to its successor.
 */
export async function endPreviousRun(stateDir: string, chain: string, run: string, log: Logger): Promise<void> {
  const file = join(stateDir, `${chain}.run`);
  if (existsSync(file)) await endRun(readRegularSync(file).toString(), log);
  writeFileSync(file, `${run}\n${(await gatewayAt(process.pid)) ?? ""}\n`, { mode: 0o600 });
}

async function endRun(written: string, log: Logger): Promise<void> {
  const [run = "", gateway = ""] = written.split("\n");
  const pid = Number.parseInt(gateway, 10);
  if (pid !== process.pid && (await gatewayAt(pid)) === gateway) {
    // Only one process writes this chain, so that gateway uses another state directory or has ended its servers.
    log.warn(
      "the previous gateway is still running: it is shutting down, or this is a copy of its files; its servers are left alone",
      {
        pid,
      },
    );
    return;
  }
  const survivors = await killFamily({ leaders: new Set(), marker: `${runVariable}=${run}` });
  if (survivors.length > 0)
    throw new Error(`processes of the previous run did not end: ${survivors.join(", ")}; kill them, then start again`);
  log.debug("no child processes are left from the previous run");
}

/** Identifies a running process by its pid and start time, since pids are reused; null if /proc does not show it. */
async function gatewayAt(pid: number): Promise<string | null> {
  const found = await readProcess(String(pid));
  return found && !found.zombie ? `${pid} ${found.started}` : null;
}
