import { within } from "../../core/wait.ts";
import { dismiss, enroll, findOrphans } from "./orphans.ts";
import { killFamily } from "./tree.ts";

/** The variable in every child's environment that names the run of the gateway that the child belongs to. */
export const runVariable = "MCPGW_RUN";

/** The daemon's side of its reaper: a process that ends all children once the daemon has ended, for any reason. */
export type Reaper = {
  /** Adds a session, by its leader, to those that the reaper ends with the daemon; `remove` removes it again. */
  add(leader: number): void;
  remove(leader: number): void;
  /** Makes the reaper end everything that is left, and waits for it to exit. */
  close(): Promise<void>;
};

/**
 * Time between two searches for inherited orphans. Ended ones are collected, the others are reported to the reaper. A
 * reaper that was killed is replaced.
 */
const searchIntervalMs = 2_000;
/** Maximum time for the reaper to end what is left, ms; the sweep at the next start does the rest. */
const closeMs = 4_000;

function spawnReaper(argv: readonly string[], env: Readonly<Record<string, string>>) {
  const child = Bun.spawn([...argv], {
    detached: true,
    env: { ...env },
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
  });
  child.unref();
  enroll(child.pid, null);
  void child.exited.then(() => dismiss(child.pid));
  return child;
}

/**
 * Starts `argv` (which runs `runReaper`) in a session of its own, connected to this process by a pipe. Calls `found`
 * for each session of orphans that cannot be assigned to a child.
 */
export function startReaper(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  found: (session: number) => void,
): Reaper {
  let child = spawnReaper(argv, env);
  const leaders = new Set<number>();
  const tell = (line: string): void => {
    // If the reaper was killed, nobody reads this; its replacement is sent everything.
    Promise.resolve(child.stdin.write(line)).catch(() => {});
    Promise.resolve(child.stdin.flush()).catch(() => {});
  };
  const add = (leader: number): void => {
    leaders.add(leader);
    tell(`+${leader}\n`);
  };
  const remove = (leader: number): void => {
    leaders.delete(leader);
    tell(`-${leader}\n`);
  };
  let told: ReadonlySet<number> = new Set();
  const look = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) {
      child = spawnReaper(argv, env);
      leaders.forEach(add);
    }
    const sessions = new Set((await findOrphans()).map(({ session }) => session));
    told.difference(sessions).forEach(remove);
    for (const session of sessions.difference(told)) {
      add(session);
      found(session);
    }
    told = sessions;
  };
  // If nothing can be read now, the next search finds it.
  const rounds = setInterval(() => void look().catch(() => {}), searchIntervalMs).unref();
  return {
    add,
    remove,
    async close() {
      clearInterval(rounds);
      await Promise.resolve(child.stdin.end()).catch(() => {});
      // The reaper may have been stopped (SIGSTOP).
      child.kill("SIGCONT");
      await within(child.exited, closeMs, null, () => child.kill("SIGKILL"));
    },
  };
}

/** The reaper's program: reads sessions from `input` and, once it closes, ends them and all processes of the run. */
export async function runReaper(run: string, input: AsyncIterable<Uint8Array>): Promise<void> {
  // A signal from a terminal or a service manager to the daemon must not end its reaper first.
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
