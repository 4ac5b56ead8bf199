import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { orNull } from "../../core/attempt.ts";
import { codeOf } from "../../core/error-text.ts";
import { copied } from "../../core/text.ts";

/** A process, with the fields that are needed to end it. */
export type Process = {
  readonly pid: number;
  readonly parent: number;
  readonly session: number;
  /** Clock ticks since boot. */
  readonly started: number;
  /** Ended, but not yet collected by its parent. */
  readonly zombie: boolean;
  /** Where its environment ends in its memory; "0" while it starts a program, once it ends, or if it hides that. */
  readonly environmentAt: string;
};

/**
 * Processes that belong together: those in the sessions of these leaders, and those with the marker in the environment.
 */
export type Family = {
  readonly leaders: ReadonlySet<number>;
  /** `MCPGW_NAME=value` as in an environment; null if there is no marker. */
  readonly marker: string | null;
};

/** Number of processes that are read at a time, so that a full process table never fills the thread pool. */
const batch = 64;

/** Rethrows an error due to a lack of descriptors: otherwise no process would seem to exist. */
function rethrowShortage(error: unknown): void {
  if (/^E[MN]FILE$/.test(codeOf(error) ?? "")) throw error;
}

/** Parses the text of a process's `stat`. */
function parseStat(pid: number, stat: string): Process {
  // The name in parentheses may contain spaces and parentheses itself.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state, parent, , session] = fields;
  return {
    pid,
    parent: Number(parent),
    session: Number(session),
    started: Number(fields[19]),
    zombie: state === "Z",
    environmentAt: fields[48] ?? "0",
  };
}

/** Reads one process; null if it is gone. Throws, as all functions here do, if no descriptor is left to read with. */
export async function readProcess(pid: string): Promise<Process | null> {
  try {
    return parseStat(Number(pid), await readFile(`/proc/${pid}/stat`, "latin1"));
  } catch (error) {
    rethrowShortage(error);
    return null;
  }
}

/** Returns when a child that has not been waited for started, as in `Process`; Infinity if unknown. */
export const startOf = (pid: number): number =>
  orNull(() => parseStat(pid, readFileSync(`/proc/${pid}/stat`, "latin1")).started) ?? Infinity;

/** Returns the environment that a process was started with; null if it is hidden, empty if the process is gone. */
export async function readEnvironment(pid: number): Promise<string | null> {
  try {
    return await readFile(`/proc/${pid}/environ`, "latin1");
  } catch (error) {
    rethrowShortage(error);
    return codeOf(error) === "EACCES" ? null : "";
  }
}

/** Reports whether an environment, as `readEnvironment` returns it, has this entry. */
export const hasMarker = (environment: string | null, marker: string): boolean =>
  `\0${environment ?? ""}`.includes(`\0${marker}\0`);

async function inBatches<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += batch) {
    results.push(...(await Promise.all(items.slice(at, at + batch).map(work))));
  }
  return results;
}

/**
 * Shares a scan of all processes among concurrent callers: separate scans for the stops of many servers would block
 * everything else. A running scan may have missed newer processes, so a caller that comes later waits for the next one.
 */
export function sharedScan<T>(look: () => Promise<T>): () => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  let next: Promise<T> | null = null;
  const begin = (): Promise<T> => {
    next = null;
    const looking = look();
    // Without the result, which would otherwise be kept in memory until the next scan.
    last = looking.then(() => {}).catch(() => {});
    return looking;
  };
  return () => (next ??= last.then(begin));
}

/** Returns every process that /proc shows; empty if there is no /proc. */
export async function listProcesses(): Promise<Process[]> {
  const names = await readdir("/proc").catch((error: unknown) => (rethrowShortage(error), []));
  const found = await inBatches(
    names.filter((name) => /^\d+$/.test(name)),
    readProcess,
  );
  return found.filter((process) => process !== null);
}

/** Scans all processes that may belong to a family, each with the possible markers in its environment. */
const others = sharedScan(async () => {
  const found = (await listProcesses()).filter(({ pid, session }) => pid !== process.pid && session !== 0);
  return inBatches(found, async (one) => ({ one, marks: one.zombie ? "" : marksIn(await readEnvironment(one.pid)) }));
});

/** Returns the entries of an environment that may be markers, in the form of an environment. */
const marksIn = (environment: string | null): string =>
  copied(environment?.match(/(?<![^\0])MCPGW_[^\0]*\0/g)?.join("") ?? "");

/**
 * Returns the family's processes: those in its sessions, the marked ones, and then all their descendants with their
 * sessions. So a process leaves the family neither by a new session alone nor by a cleared environment alone. This
 * process is never included.
 */
export async function findFamily({ leaders, marker }: Family): Promise<Process[]> {
  const all = await others();
  const marked = all.filter(({ marks }) => marker !== null && hasMarker(marks, marker));
  const members = new Set(marked.map(({ one }) => one));
  const sessions = new Set(leaders);
  const pids = new Set([...members].map(({ pid }) => pid));
  for (let before = -1; before !== members.size;) {
    before = members.size;
    for (const { one } of all) {
      if (!members.has(one) && !pids.has(one.parent) && !sessions.has(one.session)) continue;
      members.add(one);
      pids.add(one.pid);
      if (one.session === one.pid) sessions.add(one.pid);
    }
  }
  return [...members];
}
