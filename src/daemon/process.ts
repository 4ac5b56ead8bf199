import { readFileSync } from "node:fs";
import { join } from "node:path";
import { hideVariables } from "../config/paths.ts";
import { orNull } from "../core/attempt.ts";
import { execve, setNonDumpable, setSubreaper } from "../core/libc.ts";
import { onAbort } from "../core/cancel.ts";
import type { Self } from "../core/self.ts";
import { within } from "../core/wait.ts";
import type { Streams } from "./stdio.ts";

/** Environment variables that Bun reads only at startup. */
const wanted = () => ({
  // Maximum number of upstream requests in flight. With Bun's default of 256, hung calls block all others.
  BUN_CONFIG_MAX_HTTP_REQUESTS: "16384",
  // Maximum number of threads for file I/O and name resolution, started on demand; the default is the number of cores.
  // Each hung file and each unanswered DNS lookup occupies one; when none is left, no record reaches the disk.
  UV_THREADPOOL_SIZE: String(poolSize(Math.min(userThreadLimit() ?? Infinity, cgroupThreadLimit() ?? Infinity))),
  // How often code must run before it is compiled. Bun's default of 500 also compiles startup-only code, at 1.5 MiB.
  BUN_JSC_thresholdForJITAfterWarmUp: "2000",
});

/**
 * Returns the thread pool size for a limit of `most` processes and threads. The pool takes at most a quarter, because
 * Bun crashes when it gets no thread for anything else, and servers need threads too.
 */
const poolSize = (most: number): number => Math.min(256, Math.max(minThreads, Math.floor(most / 4)));

/**
 * Prepares the process before anything else runs: requires TLS verification, makes room for enough requests and files,
 * and hides proxy variables, which would reroute upstream requests.
 */
export function prepareProcess(self: Self): void {
  if (process.env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0") {
    throw new Error("NODE_TLS_REJECT_UNAUTHORIZED=0 would accept any certificate of an upstream; unset it");
  }
  const most = userThreadLimit();
  if (most !== null && most < minThreads) {
    throw new Error(
      `this user may have ${most} processes and threads at once (ulimit -u, LimitNPROC), too few to start; allow 64, plus more for each server`,
    );
  }
  restartWithRoom(self);
  hideVariables(/^(https?|all|no)_proxy$/i);
}

/** With fewer threads, startup waits forever for a thread or Bun crashes, even if no server runs as a process. */
const minThreads = 16;

/** Returns this user's limit of processes and threads (ulimit -u, LimitNPROC); null if there is none, as for root. */
const userThreadLimit = (): number | null => (process.getuid?.() === 0 ? null : limitIn(/^Max processes\s+(\d+)/m));

/** Returns the limit of this process's cgroup (a container's pids limit, TasksMax); null if none is known. */
function cgroupThreadLimit(): number | null {
  const limit = orNull(() => {
    const group = /^0::(.+)$/m.exec(readFileSync("/proc/self/cgroup", "utf8"))?.[1] ?? "/";
    return readFileSync(join("/sys/fs/cgroup", group, "pids.max"), "utf8").trim();
  });
  return limit === null || limit === "max" ? null : Number(limit);
}

/** Returns the value of a row of the process's limits; null if it is unlimited or unknown, as on macOS. */
export function limitIn(row: RegExp): number | null {
  const limit = row.exec(orNull(() => readFileSync("/proc/self/limits", "utf8")) ?? "")?.[1];
  return limit === undefined ? null : Number(limit);
}

/** Re-executes the process with the same pid, which does not return, unless all variables of `wanted` are set. */
export function restartWithRoom(self: Self): void {
  const room = wanted();
  if (Object.keys(room).every((name) => process.env[name] !== undefined)) return;
  const env = { ...room, ...process.env } as Record<string, string>; // an unset variable is not a member
  execve(process.execPath, self.command(...process.argv.slice(2)), env);
}

/** Hides this process from its children and adopts their descendants, so that none can escape termination. */
export function guardProcess(): void {
  setNonDumpable();
  setSubreaper();
}

/** How long a process that failed or was asked to end waits for its last output to be read, ms. */
const lastWords = 1_000;

/**
 * Exits once the process's output, if any, has been read, without waiting for pending timers. Exit code 0 means that
 * everything was read, so it also waits for a slow reader.
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
