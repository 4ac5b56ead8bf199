import { reap } from "../core/libc.ts";
import { type Family, findFamily, listProcesses } from "./process-table.ts";

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

/**
 * Ends a family the way the specification asks (2026-07-28, stdio, shutdown): stdin was closed by the caller and
 * `closed` resolves when the leader ended by itself, then SIGTERM, then SIGKILL until nothing is left.
 */
export async function endFamily(family: Family, closed: Promise<unknown>, patience: Patience): Promise<number[]> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, patience.close);
  await Promise.race([closed, late]);
  clearTimeout(timer);
  const pids = await running(family);
  for (const pid of pids) signal(pid, "SIGTERM");
  if (await goneWithin(family, patience.term)) return [];
  return killFamily(family);
}

/** Collects ended orphans that this process, being a subreaper, inherited; `own` are the children that Bun collects. */
export async function reapOrphans(own: ReadonlySet<number>): Promise<void> {
  const processes = await listProcesses();
  const session = processes.find(({ pid }) => pid === process.pid)?.session;
  for (const one of processes) {
    const orphan = one.zombie && one.parent === process.pid && one.session !== session;
    if (orphan && !own.has(one.pid)) reap(one.pid);
  }
}
