import { dismiss, enroll, findOrphans } from "./orphans.ts";
import { killFamily } from "./tree.ts";

/** The variable that every child's environment holds: whose run it belongs to. */
export const runVariable = "MCPGW_RUN";

/** Ends every process of an earlier run that is still there; returns the pids that would not die, normally none. */
export function sweepRun(run: string): Promise<number[]> {
  return killFamily({ leaders: new Set(), marker: `${runVariable}=${run}` });
}

/** The daemon's end of its reaper: a process that ends all children once the daemon is gone, however it went. */
export type Reaper = {
  readonly pid: number;
  /** A session that has to end with the daemon, and one that has ended. */
  add(leader: number): void;
  remove(leader: number): void;
  /** Lets the reaper finish; it ends what is left. */
  close(): Promise<void>;
};

/** Between two looks at what was inherited: orphans that have ended are collected, others are the reaper's to end. */
const roundMs = 2_000;

/**
 * Starts `argv` (which runs `runReaper`) in a session of its own, tied to this process by a pipe; `found` is called for
 * each session of orphans of which nothing says whose they are.
 */
export function startReaper(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  found: (session: number) => void,
): Reaper {
  const child = Bun.spawn([...argv], {
    detached: true,
    env: { ...env },
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
  });
  child.unref();
  const tell = (line: string): void => {
    // A reaper that was killed cannot be told anything; the next start's sweep does its work.
    Promise.resolve(child.stdin.write(line)).catch(() => {});
    Promise.resolve(child.stdin.flush()).catch(() => {});
  };
  void enroll(child.pid, null);
  let told: ReadonlySet<number> = new Set();
  const look = async (): Promise<void> => {
    const sessions = new Set((await findOrphans()).map(({ session }) => session));
    for (const gone of told.difference(sessions)) tell(`-${gone}\n`);
    for (const session of sessions.difference(told)) {
      tell(`+${session}\n`);
      found(session);
    }
    told = sessions;
  };
  const rounds = setInterval(() => void look(), roundMs);
  rounds.unref();
  return {
    pid: child.pid,
    add: (leader) => tell(`+${leader}\n`),
    remove: (leader) => tell(`-${leader}\n`),
    async close() {
      clearInterval(rounds);
      await Promise.resolve(child.stdin.end()).catch(() => {});
      await child.exited;
      dismiss(child.pid);
    },
  };
}

/** The reaper's whole life: learns the sessions from `input`, and when that ends, ends them and all of the run. */
export async function runReaper(run: string, input: AsyncIterable<Uint8Array>): Promise<void> {
  // A terminal's or a service manager's signal to the daemon must not end its reaper first.
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(name, () => {});
  const leaders = new Set<number>();
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of input) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const leader = Number(line.slice(1));
      if (line.startsWith("+")) leaders.add(leader);
      else leaders.delete(leader);
    }
  }
  await killFamily({ leaders, marker: `${runVariable}=${run}` });
}
