import { thrownBy } from "../../core/attempt.ts";
import { within } from "../../core/wait.ts";
import { findOrphans } from "./orphans.ts";
import { type Family, findFamily, readProcess } from "./process-table.ts";

/** How long each step of ending a process tree may take, in ms. */
export type Patience = {
  /** After its stdin was closed. */
  readonly close: number;
  /** After SIGTERM. */
  readonly term: number;
};

export const usualPatience: Patience = { close: 2_000, term: 1_500 };

const pollMs = 20;
/** Most rounds of SIGKILL. No process can refuse it: one that is still there afterwards hangs in the kernel. */
const killRounds = 75;

/** False if there is no such process or, for a negative pid, group. Of those 0 and -1 mean far more than one. */
const signal = (pid: number, name: NodeJS.Signals | 0): boolean =>
  pid !== 0 && pid !== -1 && thrownBy(() => process.kill(pid, name)) === null;

/** The family's processes; null where none can be looked at: without /proc, or a descriptor to look with. */
const seen = (family: Family) =>
  process.platform === "linux" ? findFamily(family).catch(() => null) : Promise.resolve(null);

/**
 * Pids of the family's processes that still run; of a session of which none can be seen, the process group that does,
 * as a negative pid. A process may hide from one of the same user too: one that is not dumpable, where /proc is mounted
 * with hidepid.
 */
async function running(family: Family): Promise<number[]> {
  const members = (await seen(family)) ?? [];
  const sessions = new Set(members.map(({ session }) => session));
  const unseen = [...family.leaders].filter((leader) => !sessions.has(leader) && signal(-leader, 0));
  const holders = await Promise.all(unseen.map((leader) => readProcess(String(leader)).catch(() => null)));
  // A number that a process of another session has was used again.
  const hidden = unseen.filter((leader, at) => (holders[at]?.session ?? leader) === leader);
  return [...members.filter(({ zombie }) => !zombie).map(({ pid }) => pid), ...hidden.map((pid) => -pid)];
}

async function goneWithin(family: Family, ms: number): Promise<boolean> {
  const deadline = performance.now() + ms;
  while ((await running(family)).length > 0) {
    if (performance.now() > deadline) return false;
    await Bun.sleep(pollMs);
  }
  return true;
}

/** Kills the family at once and waits until it is gone; returns the pids that would not die, normally none. */
export async function killFamily(family: Family): Promise<number[]> {
  for (let round = 0; round < killRounds; round++) {
    const pids = await running(family);
    if (pids.length === 0) return [];
    for (const pid of pids) signal(pid, "SIGKILL");
    await Bun.sleep(pollMs);
  }
  return running(family);
}

/** The way to ask the leader to end by itself, and the promise that it has ended. */
type Farewell = { ask(): void; readonly ended: Promise<unknown> };

/**
 * Ends a family the way the specification asks (2026-07-28, stdio, shutdown): the leader is asked to end by itself,
 * then SIGTERM, then SIGKILL until nothing is left. Returns the pids that would not die, normally none.
 */
export async function endFamily(family: Family, { ask, ended }: Farewell, patience: Patience): Promise<number[]> {
  // Collect the whole tree first: once a parent is gone, its children cannot be traced to it.
  const whole = await withSessions(family);
  ask();
  await within(ended, patience.close, null, () => {});
  const pids = await running(whole);
  for (const pid of pids) signal(pid, "SIGTERM");
  if (await goneWithin(whole, patience.term)) return [];
  return killFamily(whole);
}

/** The family, including the sessions that its members have started. */
async function withSessions(family: Family): Promise<Family> {
  const begun = ((await seen(family)) ?? []).filter(({ pid, session }) => pid === session);
  return { ...family, leaders: new Set([...family.leaders, ...begun.map(({ pid }) => pid)]) };
}

/**
 * Ends what a child that has ended may have left behind without a sign that it is the child's: the orphans that started
 * after the child (`since`), with their families. Returns the pids that would not die.
 */
export async function endOrphans(since: number): Promise<number[]> {
  const found = await findOrphans().catch(() => []);
  const orphans = found.filter(({ started }) => started >= since);
  if (orphans.length === 0) return [];
  return killFamily({ leaders: new Set(orphans.map(({ session }) => session)), marker: null });
}
