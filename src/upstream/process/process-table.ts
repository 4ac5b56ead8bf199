import { readdir, readFile } from "node:fs/promises";

/** One process, with the fields that are needed to end it. */
export type Process = {
  readonly pid: number;
  readonly parent: number;
  readonly session: number;
  /** Clock ticks since boot. */
  readonly started: number;
  /** Ended, but not yet collected by its parent. */
  readonly zombie: boolean;
};

/**
 * Processes that belong together: those in the sessions of these leaders, and all with the marker in their environment.
 */
export type Family = {
  readonly leaders: ReadonlySet<number>;
  /** `NAME=value` as in an environment; null where there is no marker. */
  readonly marker: string | null;
};

/** Reads this many processes at a time, so that a full process table never fills the thread pool. */
const batch = 64;

/** One process; null when it is gone. */
export async function readProcess(pid: string): Promise<Process | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    // The name in parentheses may hold spaces and parentheses itself.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, parent, , session] = fields;
    const started = Number(fields[19]);
    return { pid: Number(pid), parent: Number(parent), session: Number(session), started, zombie: state === "Z" };
  } catch {
    return null;
  }
}

/** Whether a process was started with `marker` in its environment. */
export async function carries(pid: number, marker: string): Promise<boolean> {
  try {
    return `\0${await readFile(`/proc/${pid}/environ`, "latin1")}`.includes(`\0${marker}\0`);
  } catch {
    return false;
  }
}

async function inBatches<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += batch) {
    results.push(...(await Promise.all(items.slice(at, at + batch).map(work))));
  }
  return results;
}

/** Every process that /proc shows; empty where there is no /proc. */
export async function listProcesses(): Promise<Process[]> {
  const names = await readdir("/proc").catch(() => []);
  const found = await inBatches(
    names.filter((name) => /^\d+$/.test(name)),
    readProcess,
  );
  return found.filter((process) => process !== null);
}

/**
 * The family's processes: those in its sessions, the marked ones, and then all their descendants with their sessions.
 * So a process leaves the family neither by a new session alone nor by a cleared environment alone. This process is
 * never included.
 */
export async function findFamily({ leaders, marker }: Family): Promise<Process[]> {
  const others = (await listProcesses()).filter(({ pid, session }) => pid !== process.pid && session !== 0);
  const isMarked = async ({ pid, zombie }: Process) => marker !== null && !zombie && carries(pid, marker);
  const marked = await inBatches(others, isMarked);
  const members = new Set(others.filter((one, index) => marked[index] || leaders.has(one.session)));
  const sessions = new Set(leaders);
  const pids = new Set([...members].map(({ pid }) => pid));
  for (let before = -1; before !== members.size;) {
    before = members.size;
    for (const one of others) {
      if (!members.has(one) && !pids.has(one.parent) && !sessions.has(one.session)) continue;
      members.add(one);
      pids.add(one.pid);
      if (one.session === one.pid) sessions.add(one.pid);
    }
  }
  return [...members];
}
