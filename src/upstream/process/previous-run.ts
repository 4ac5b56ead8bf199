import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../../core/log.ts";
import { sweepRun } from "./reaper.ts";

/**
 * Ends what an earlier run of this chain left behind, should its reaper have died with it, and notes this run for the
 * next start. Throws when a process of the old run will not die: two would serve one caller's data.
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
