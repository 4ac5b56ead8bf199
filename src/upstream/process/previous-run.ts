import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readRegularSync } from "../../core/files.ts";
import type { Logger } from "../../core/log.ts";
import { readProcess } from "./process-table.ts";
import { runVariable } from "./reaper.ts";
import { killFamily } from "./tree.ts";

/**
 * Ends the processes that the previous run of this chain left behind if its reaper died too, and writes this run down
 * for the next start. Throws when such a process will not die: it would work on a caller's data beside its successor.
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
    // No other process writes this chain: that gateway works on another state directory, or has ended its servers.
    log.warn("the last gateway here still runs: it stops, or this is a copy of its files; its servers are left alone", {
      pid,
    });
    return;
  }
  const survivors = await killFamily({ leaders: new Set(), marker: `${runVariable}=${run}` });
  if (survivors.length > 0)
    throw new Error(`processes of the last run would not end: ${survivors.join(", ")}; kill them, then start again`);
  log.debug("no children are left of the last run");
}

/** A running process by its pid and when it started, since a pid is used again; null where /proc shows none. */
async function gatewayAt(pid: number): Promise<string | null> {
  const found = await readProcess(String(pid));
  return found && !found.zombie ? `${pid} ${found.started}` : null;
}
