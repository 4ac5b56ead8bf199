import { reap } from "../../core/libc.ts";
import { within } from "../../core/wait.ts";
import { findOrphans } from "./orphans.ts";
import { type Family, findFamily } from "./process-table.ts";

/** How long each step of ending a process tree may take, in ms. */
export type Patience = {
  /** After its stdin was closed. */
  readonly close: number;
  /** After SIGTERM. */
  readonly term: number;
};

export const usualPatience: Patience = { close: 2_000, term: 1_500 };

const pollMs = 20;
/** SIGKILL cannot be refused; what is still there after this long hangs in the kernel. */
const killRounds = 75;

function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

/** Pids of the family that still run; where there is no /proc, the leaders whose process groups do. */
async function running(family: Family): Promise<number[]> {
  if (process.platform !== "linux")
    return [...family.leaders].filter((leader) => signal(-leader, 0)).map((pid) => -pid);
  const members = await findFamily(family);
  // Bun collects the leaders itself; an orphan's parent is this process only where it is a subreaper.
  for (const { pid, parent, zombie } of members) {
    if (zombie && parent === process.pid && !family.leaders.has(pid)) reap(pid);
  }
  return members.filter(({ zombie }) => !zombie).map(({ pid }) => pid);
}

async function goneWithin(family: Family, ms: number): Promise<boolean> {
  const deadline = performance.now() + ms;
  while ((await running(family)).length > 0) {
    if (performance.now() > deadline) return false;
    await Bun.sleep(pollMs);
  }
  return true;
}

/** Kills the family at once and makes sure; returns the pids that would not die, normally none. */
export async function killFamily(family: Family): Promise<number[]> {
  for (let round = 0; round < killRounds; round++) {
    const pids = await running(family);
    if (pids.length === 0) return [];
    for (const pid of pids) signal(pid, "SIGKILL");
    await Bun.sleep(pollMs);
  }
  return running(family);
}

/** How the leader is asked to end by itself, and when it did. */
export type Farewell = { ask(): void; readonly ended: Promise<unknown> };

/**
 * Ends a family the way the specification asks (2026-07-28, stdio, shutdown): the leader is asked to end by itself, then
 * SIGTERM, then SIGKILL until nothing is left. Returns the pids that would not die, normally none.
 */
export async function endFamily(family: Family, { ask, ended }: Farewell, patience: Patience): Promise<number[]> {
  // Before the first of them ends: whose parent is gone no longer shows whose it was.
  const whole = await withSessions(family);
  ask();
  await within(ended, patience.close, null, () => {});
  const pids = await running(whole);
  for (const pid of pids) signal(pid, "SIGTERM");
  if (await goneWithin(whole, patience.term)) return [];
  return killFamily(whole);
}

/** The family with the sessions that its members have begun. */
async function withSessions({ leaders, marker }: Family): Promise<Family> {
  if (process.platform !== "linux") return { leaders, marker };
  const begun = (await findFamily({ leaders, marker })).filter(({ pid, session }) => pid === session);
  return { leaders: new Set([...leaders, ...begun.map(({ pid }) => pid)]), marker };
}

/**
 * Ends what an ended child may have left behind without a sign of whose it is: orphans that began after it did, with
 * all that is theirs. Returns the pids that would not die.
 */
export async function endOrphans(since: number): Promise<number[]> {
  const orphans = (await findOrphans()).filter(({ started }) => started >= since);
  if (orphans.length === 0) return [];
  return killFamily({ leaders: new Set(orphans.map(({ session }) => session)), marker: null });
}
