import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { orNull } from "../../core/attempt.ts";
import { codeOf } from "../../core/error-text.ts";
import { copied } from "../../core/text.ts";

/** One process, with the fields that are needed to end it. */
export type Process = {
  readonly pid: number;
  readonly parent: number;
  readonly session: number;
  /** Clock ticks since boot. */
  readonly started: number;
  /** Ended, but not yet collected by its parent. */
  readonly zombie: boolean;
  /** Where its environment ends in its memory; "0" while it starts a program, once it ends, and if it hides that. */
  readonly environmentAt: string;
};

/**
 * Processes that belong together: those in the sessions of these leaders, and all with the marker in their environment.
 */
export type Family = {
  readonly leaders: ReadonlySet<number>;
  /** `MCPGW_NAME=value` as in an environment; null where there is no marker. */
  readonly marker: string | null;
};

/** Reads this many processes at a time, so that a full process table never fills the thread pool. */
const batch = 64;

/** Throws an error that says nothing of a process: without a descriptor to look with, none would seem to be there. */
function refuseBlind(error: unknown): void {
  if (/^E[MN]FILE$/.test(codeOf(error) ?? "")) throw error;
}

/** A process by the text of its `stat`. */
function parseStat(pid: number, stat: string): Process {
  // The name in parentheses may hold spaces and parentheses itself.
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

/** One process; null when it is gone. Throws where no descriptor is left to look with, as all here do. */
export async function readProcess(pid: string): Promise<Process | null> {
  try {
    return parseStat(Number(pid), await readFile(`/proc/${pid}/stat`, "latin1"));
  } catch (error) {
    refuseBlind(error);
    return null;
  }
}

/** When a child started that was not waited for yet, as `Process` says it; Infinity where that cannot be seen. */
export const startOf = (pid: number): number =>
  orNull(() => parseStat(pid, readFileSync(`/proc/${pid}/stat`, "latin1")).started) ?? Infinity;

/** The environment that a process was started with; null where the process hides it, empty where it is gone. */
export async function readEnvironment(pid: number): Promise<string | null> {
  try {
    return await readFile(`/proc/${pid}/environ`, "latin1");
  } catch (error) {
    refuseBlind(error);
    return codeOf(error) === "EACCES" ? null : "";
  }
}

/** Whether an environment, as `readEnvironment` returns it, has this entry. */
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
 * A look at all processes that those share who ask for it meanwhile: each on its own, the stops of many servers would
 * hold up everything else. One that has begun may have passed what came since, so who asks then waits for the next.
 */
export function sharedLook<T>(look: () => Promise<T>): () => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  let next: Promise<T> | null = null;
  const begin = (): Promise<T> => {
    next = null;
    const looking = look();
    // Without what it finds, which would be kept until the next look.
    last = looking.then(() => {}).catch(() => {});
    return looking;
  };
  return () => (next ??= last.then(begin));
}

/** Every process that /proc shows; empty where there is no /proc. */
export async function listProcesses(): Promise<Process[]> {
  const names = await readdir("/proc").catch((error: unknown) => (refuseBlind(error), []));
  const found = await inBatches(
    names.filter((name) => /^\d+$/.test(name)),
    readProcess,
  );
  return found.filter((process) => process !== null);
}

/** All processes that may belong to a family, each with what may be a marker in its environment. */
const others = sharedLook(async () => {
  const found = (await listProcesses()).filter(({ pid, session }) => pid !== process.pid && session !== 0);
  return inBatches(found, async (one) => ({ one, marks: one.zombie ? "" : marksIn(await readEnvironment(one.pid)) }));
});

/** The entries of an environment that may be markers, as an environment. */
const marksIn = (environment: string | null): string =>
  copied(environment?.match(/(?<![^\0])MCPGW_[^\0]*\0/g)?.join("") ?? "");

/**
 * The family's processes: those in its sessions, the marked ones, and then all their descendants with their sessions.
 * So a process leaves the family neither by a new session alone nor by a cleared environment alone. This process is
 * never included.
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
