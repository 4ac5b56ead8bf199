import { readdir, readFile } from "node:fs/promises";
import { isSubreaper, reap } from "../../core/libc.ts";
import {
  hasMarker,
  listProcesses,
  type Process,
  readEnvironment,
  readProcess,
  sharedLook,
  startOf,
} from "./process-table.ts";

/** A child that leads a process session of its own: its mark, and when it started (clock ticks since boot). */
type Leader = { readonly marker: string | null; readonly started: number };

// One table for the whole process, since its children may belong to several sets of servers.
const leaders = new Map<number, Leader>();

/**
 * Registers a child that has just been started in a session of its own; its descendants carry `marker` in their
 * environment.
 */
export function enroll(pid: number, marker: string | null): void {
  // Read at once: later one that has ended may be collected.
  leaders.set(pid, { marker, started: startOf(pid) });
}

/** Forgets a child that has ended, with all processes that are known to be its own. Returns when it started. */
export function dismiss(pid: number): number {
  const started = leaders.get(pid)?.started ?? Infinity;
  leaders.delete(pid);
  return started;
}

/** The children of this process, including those that it inherited. */
async function listChildren(): Promise<Process[]> {
  const pids = await childPids();
  if (!pids) return (await listProcesses()).filter(({ parent }) => parent === process.pid);
  return (await Promise.all(pids.map(readProcess))).filter((one) => one !== null);
}

/** The pids of the children; null where the kernel does not list them. */
async function childPids(): Promise<string[] | null> {
  try {
    const threads = await readdir("/proc/self/task");
    // A thread may have ended meanwhile; its children belong to another thread by now.
    const read = (thread: string) => readFile(`/proc/self/task/${thread}/children`, "latin1").catch(() => "");
    await readFile(`/proc/self/task/${process.pid}/children`);
    return (await Promise.all(threads.map(read))).join(" ").split(" ").filter(Boolean);
  } catch {
    return null;
  }
}

/**
 * Processes that this one inherited as a subreaper and that cannot be assigned to any of its children: neither their
 * session nor their environment shows whose they are. Collects those that have ended.
 */
export const findOrphans = sharedLook(async (): Promise<Process[]> => {
  if (!isSubreaper()) return [];
  const own = await readProcess(String(process.pid));
  const orphans: Process[] = [];
  for (const one of await listChildren()) {
    if (one.session === own?.session || leaders.has(one.pid)) continue;
    if (one.zombie) reap(one.pid);
    else if (!leaders.has(one.session) && (await isUnmarked(one))) orphans.push(one);
  }
  // Checked at the end, since a child may have been enrolled while the processes were read.
  return orphans.filter(({ pid, session }) => !leaders.has(pid) && !leaders.has(session));
});

/** Whether a process shows an environment without the mark of any child, or hides its own. */
async function isUnmarked(one: Process): Promise<boolean> {
  const environment = await readEnvironment(one.pid);
  for (const { marker } of leaders.values()) if (marker !== null && hasMarker(environment, marker)) return false;
  const now = await readProcess(String(one.pid));
  if (environment !== "") return now?.zombie === false;
  // What starts a program or ends shows none for a moment, whatever it has.
  return one.environmentAt !== "0" && one.environmentAt === now?.environmentAt;
}
