import path from "node:path";
import { mcpgw } from "./mcpgw.ts";
import { ended } from "./processes.ts";
import { TempDir } from "./temp-dir.ts";

const server = path.join(import.meta.dir, "../fixtures/control-server.ts");

/** The output and exit code of a command. */
type Ran = { readonly code: number; readonly out: string; readonly err: string };

/** A directory with a control server that gives fixed answers. */
export type Sample = {
  readonly directory: string;
  readonly socket: string;
  run(args: readonly string[], more?: { env?: Record<string, string>; stdin?: string }): Promise<Ran>;
  /** Stops the server; `start` starts it again. */
  stop(): Promise<void>;
  /**
   * Starts a server: one whose tail ends, so that its answers are always the same; one whose tail stays open and that
   * can be frozen; or one of these that cannot record, of this version or of an older one.
   */
  start(mode?: "ends" | "stays" | "full" | "older"): Promise<void>;
  /** Suspends the server, or resumes it. */
  hang(on: boolean): void;
  close(): Promise<void>;
};

/** Returns the environment of a user who has configured nothing. */
export const bareEnv = (directory: string): Record<string, string> => ({
  PATH: process.env["PATH"] ?? "",
  HOME: directory,
  TZ: "UTC",
  MCPGW_STATE: path.join(directory, "state"),
});

export function sample(): Sample {
  const temp = new TempDir();
  const directory = temp.dir;
  const socket = temp.path("control.sock");
  let running: Bun.Subprocess<"ignore", "pipe", "inherit"> | null = null;
  const stop = async (): Promise<void> => {
    running?.kill("SIGTERM");
    running?.kill("SIGCONT");
    await running?.exited;
    running = null;
  };
  return {
    directory,
    socket,
    stop,
    async start(mode = "ends") {
      const command = [process.execPath, server, socket, mode];
      running = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", env: { ...bareEnv(directory) } });
      await running.stdout.getReader().read();
    },
    hang: (on) => running?.kill(on ? "SIGSTOP" : "SIGCONT"),
    async run(args, { env = {}, stdin = "" } = {}) {
      const child = Bun.spawn([...mcpgw, ...args], {
        cwd: directory,
        env: { ...bareEnv(directory), MCPGW_SOCKET: socket, ...env },
        stdin: Buffer.from(stdin),
        stdout: "pipe",
        stderr: "pipe",
      });
      const { code, stdout: out, stderr: err } = await ended(child);
      return { code, out, err };
    },
    async close() {
      await stop();
      temp[Symbol.dispose]();
    },
  };
}
