import { readdir, readFile } from "node:fs/promises";
import { isSubreaper, reap } from "../../core/libc.ts";
import {
  hasMarker,
  listProcesses,
  type Process,
  readEnvironment,
  readProcess,
  sharedScan,
  startOf,
} from "./process-table.ts";

/** A child that leads a process session of its own: its marker, and when it started (clock ticks since boot). */
type Leader = { readonly marker: string | null; readonly started: number };

// One table for the whole process, since its children may belong to several sets of servers.
const leaders = new Map<number, Leader>();

/** Registers a child just started in a session of its own; its descendants carry `marker` in their environment. */
export function enroll(pid: number, marker: string | null): void {
  // Read immediately: once the child has ended, it may be collected.
  leaders.set(pid, { marker, started: startOf(pid) });
}

/** Forgets a child that has ended and all processes known to be its own. Returns when it started. */
export function dismiss(pid: number): number {
  const started = leaders.get(pid)?.started ?? Infinity;
  leaders.delete(pid);
  return started;
}

/** Returns the children of this process, including inherited ones. */
async function listChildren(): Promise<Process[]> {
  const pids = await childPids();
  if (!pids) return (await listProcesses()).filter(({ parent }) => parent === process.pid);
  return (await Promise.all(pids.map(readProcess))).filter((one) => one !== null);
}

/** Returns the pids of the children, or null if the kernel does not list them. */
async function childPids(): Promise<string[] | null> {
  try {
    const threads = await readdir("/proc/self/task");
    // If a thread has ended in the meantime, its children belong to another thread by now.
    const read = (thread: string) => readFile(`/proc/self/task/${thread}/children`, "latin1").catch(() => "");
    await readFile(`/proc/self/task/${process.pid}/children`);
    return (await Promise.all(threads.map(read))).join(" ").split(" ").filter(Boolean);
  } catch {
    return null;
  }
}

/**
 * Finds processes that this one inherited as a subreaper and that cannot be assigned to any of its children, neither by
 * their session nor by their environment. Collects those that have ended.
 */
export const findOrphans = sharedScan(async (): Promise<Process[]> => {
  if (!isSubreaper()) return [];
  const own = await readProcess(String(process.pid));
  const orphans: Process[] = [];
  for (const one of await listChildren()) {
    if (one.session === own?.session || leaders.has(one.pid)) continue;
    if (one.zombie) reap(one.pid);
    else if (!leaders.has(one.session) && (await isUnmarked(one))) orphans.push(one);
  }
  // Checked last, since a child may have been registered while the processes were read.
  return orphans.filter(({ pid, session }) => !leaders.has(pid) && !leaders.has(session));
});

/** Reports whether a process hides its environment or shows one without the marker of any child. */
async function isUnmarked(one: Process): Promise<boolean> {
  const environment = await readEnvironment(one.pid);
  for (const { marker } of leaders.values()) if (marker !== null && hasMarker(environment, marker)) return false;
  const now = await readProcess(String(one.pid));
  if (environment !== "") return now?.zombie === false;
  // A process that is starting a program or ending shows no environment for a moment.
  return one.environmentAt !== "0" && one.environmentAt === now?.environmentAt;
}
