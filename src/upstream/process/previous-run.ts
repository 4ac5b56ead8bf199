import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../../core/log.ts";
import { sweepRun } from "./reaper.ts";

/**
 * Ends the processes that the previous run of this chain left behind if its reaper died too, and writes this run down
 * for the next start. Throws when such a process will not die: it would work on a caller's data beside its successor.
 */
export async function endPreviousRun(stateDir: string, chain: string, run: string, log: Logger): Promise<void> {
  const file = join(stateDir, `${chain}.run`);
  if (existsSync(file)) {
    const left = await sweepRun(readFileSync(file, "utf8").trim());
    if (left.length > 0)
      throw new Error(`processes of the last run would not end: ${left.join(", ")}; kill them, then start again`);
    log.debug("no children are left of the last run");
  }
  writeFileSync(file, `${run}\n`, { mode: 0o600 });
}
