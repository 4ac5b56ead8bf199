import { thrownBy } from "../../core/attempt.ts";
import { within } from "../../core/wait.ts";
import { findOrphans } from "./orphans.ts";
import { type Family, findFamily, readProcess } from "./process-table.ts";

/** The maximum duration of each step of ending a process tree, ms. */
export type Patience = {
  /** After closing its stdin. */
  readonly close: number;
  /** After SIGTERM. */
  readonly term: number;
};

export const defaultStopPatience: Patience = { close: 2_000, term: 1_500 };

const pollMs = 20;
/** Maximum number of rounds of SIGKILL. A process that still exists afterwards hangs in the kernel. */
const killRounds = 75;

/** Sends a signal; false if there is no such process or (negative pid) group. 0 and -1 would mean many processes. */
const signal = (pid: number, name: NodeJS.Signals | 0): boolean =>
  pid !== 0 && pid !== -1 && thrownBy(() => process.kill(pid, name)) === null;

/** Returns the family's processes; null if none can be read, without /proc or a free descriptor. */
const seen = (family: Family) =>
  process.platform === "linux" ? findFamily(family).catch(() => null) : Promise.resolve(null);

/**
 * Returns the pids of the family's processes that still run. For a session without visible processes, returns the
 * process group that exists, as a negative pid. A process may be hidden even from the same user: a non-dumpable one, if
 * /proc is mounted with hidepid.
 */
async function running(family: Family): Promise<number[]> {
  const members = (await seen(family)) ?? [];
  const sessions = new Set(members.map(({ session }) => session));
  const unseen = [...family.leaders].filter((leader) => !sessions.has(leader) && signal(-leader, 0));
  const holders = await Promise.all(unseen.map((leader) => readProcess(String(leader)).catch(() => null)));
  // If a process of another session has the number, it was reused.
  const hidden = unseen.filter((leader, at) => (holders[at]?.session ?? leader) === leader);
  return [...members.filter(({ zombie }) => !zombie).map(({ pid }) => pid), ...hidden.map((pid) => -pid)];
}

async function waitUntilGone(family: Family, ms: number): Promise<boolean> {
  const deadline = performance.now() + ms;
  while ((await running(family)).length > 0) {
    if (performance.now() > deadline) return false;
    await Bun.sleep(pollMs);
  }
  return true;
}

/** Kills the family immediately and waits until it is gone; returns the pids that did not die, normally none. */
export async function killFamily(family: Family): Promise<number[]> {
  for (let round = 0; round < killRounds; round++) {
    const pids = await running(family);
    if (pids.length === 0) return [];
    for (const pid of pids) signal(pid, "SIGKILL");
    await Bun.sleep(pollMs);
  }
  return running(family);
}

/** How to ask the leader to end by itself, and the promise that settles when it has ended. */
type Farewell = { ask(): void; readonly ended: Promise<unknown> };

/**
 * Ends a family in the way of the specification (2026-07-28, stdio, shutdown): asks the leader to end by itself, then
 * sends SIGTERM, then SIGKILL until nothing is left. Returns the pids that did not die, normally none.
 */
export async function endFamily(family: Family, { ask, ended }: Farewell, patience: Patience): Promise<number[]> {
  // Collect the whole tree first: once a parent is gone, its children cannot be traced to it.
  const whole = await withSessions(family);
  ask();
  await within(ended, patience.close, null, () => {});
  const pids = await running(whole);
  for (const pid of pids) signal(pid, "SIGTERM");
  if (await waitUntilGone(whole, patience.term)) return [];
  return killFamily(whole);
}

/** Returns the family, including the sessions that its members have started. */
async function withSessions(family: Family): Promise<Family> {
  const begun = ((await seen(family)) ?? []).filter(({ pid, session }) => pid === session);
  return { ...family, leaders: new Set([...family.leaders, ...begun.map(({ pid }) => pid)]) };
}

/**
 * Ends what an ended child may have left behind without any marker: the orphans that started after the child (`since`),
 * with their families. Returns the pids that did not die.
 */
export async function endOrphans(since: number): Promise<number[]> {
  const found = await findOrphans().catch(() => []);
  const orphans = found.filter(({ started }) => started >= since);
  if (orphans.length === 0) return [];
  return killFamily({ leaders: new Set(orphans.map(({ session }) => session)), marker: null });
}
