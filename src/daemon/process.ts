import { readFileSync } from "node:fs";
import { join } from "node:path";
import { hideVariables } from "../config/paths.ts";
import { orNull } from "../core/attempt.ts";
import { execve, setNonDumpable, setSubreaper } from "../core/libc.ts";
import { onAbort } from "../core/cancel.ts";
import type { Self } from "../core/self.ts";
import { within } from "../core/wait.ts";
import type { Streams } from "./stdio.ts";

/** What Bun reads at its start only. */
const wanted = () => ({
  // Requests to upstreams that may be in flight at once; by Bun's own default of 256 hung calls block all others.
  BUN_CONFIG_MAX_HTTP_REQUESTS: "16384",
  // Most threads for files and names, made as they are needed; by default as many as cores. Each file that does not
  // answer, and each server's name while no resolver answers, holds one: without any left no record reaches the disk.
  UV_THREADPOOL_SIZE: String(poolSize(Math.min(mostOfUser() ?? Infinity, mostOfGroup() ?? Infinity))),
  // How often code has run before it is compiled, by Bun's default 500: what only the start needs would take 1.5 MiB.
  BUN_JSC_thresholdForJITAfterWarmUp: "2000",
});

/**
 * The size of Bun's pool where so many processes and threads are allowed at once. Bun crashes when it gets no thread
 * for anything else, and servers need theirs, so the pool takes a quarter at most.
 */
const poolSize = (most: number): number => Math.min(256, Math.max(fewestThreads, Math.floor(most / 4)));

/**
 * Brings the process into the shape that the gateway needs before anything else runs: TLS checked, room for enough
 * requests and files, no proxy variables (they would reroute upstream requests).
 */
export function prepareProcess(self: Self): void {
  if (process.env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0") {
    throw new Error("NODE_TLS_REJECT_UNAUTHORIZED=0 would accept any certificate of an upstream; unset it");
  }
  const most = mostOfUser();
  if (most !== null && most < fewestThreads) {
    throw new Error(
      `this user may have ${most} processes and threads at once (ulimit -u, LimitNPROC), too few to start; allow 64, and more for each server`,
    );
  }
  restartWithRoom(self);
  hideVariables(/^(https?|all|no)_proxy$/i);
}

/**
 * With less no gateway runs, also without a process of a server: its start waits for ever for a thread, or Bun crashes.
 */
const fewestThreads = 16;

/** Processes and threads that this user may have at once (ulimit -u, LimitNPROC); root is held to no limit. */
const mostOfUser = (): number | null => (process.getuid?.() === 0 ? null : limitIn(/^Max processes\s+(\d+)/m));

/** Those that this process's cgroup may have (a container's pids limit, TasksMax); null where nothing tells. */
function mostOfGroup(): number | null {
  const limit = orNull(() => {
    const group = /^0::(.+)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
    return readFileSync(join("/sys/fs/cgroup", group, "pids.max"), "utf8").trim();
  });
  return limit === null || limit === "max" ? null : Number(limit);
}

/** What this row of the process's limits says. Null where nothing tells (macOS) and for no limit. */
export function limitIn(row: RegExp): number | null {
  const limit = row.exec(orNull(() => readFileSync("/proc/self/limits", "utf8")) ?? "")?.[1];
  return limit === undefined ? null : Number(limit);
}

/**
 * Restarts the process once, under the same pid, with room for enough requests and files; does not return then. In a
 * process that has the room it does nothing.
 */
export function restartWithRoom(self: Self): void {
  const room = wanted();
  if (Object.keys(room).every((name) => process.env[name] !== undefined)) return;
  const env = { ...room, ...process.env } as Record<string, string>; // a variable that is not set is no member
  execve(process.execPath, self.command(...process.argv.slice(2)), env);
}

/** Hides this process from its children and adopts theirs, so that none can escape being ended. */
export function guardProcess(): void {
  setNonDumpable();
  setSubreaper();
}

/** How long a process that failed, or was asked to end, waits for a reader of its last output, ms. */
const lastWords = 1_000;

/**
 * Ends the process once its output, if it has any, is read, without waiting for timers that are still set. An exit code
 * of 0 says that all was read, so it waits for a slow reader too.
 */
export async function endProcess(code: number, last?: Streams): Promise<never> {
  if (last) {
    const { output, asked } = last;
    const drained = output.drained();
    if (code === 0) await Promise.race([drained, new Promise<void>((resolve) => onAbort(asked, resolve))]);
    await within(drained, lastWords, null, () => {});
  }
  process.exit(code);
}
