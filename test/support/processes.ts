import { readdirSync, readFileSync } from "node:fs";
import { TempDir } from "./temp-dir.ts";

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    // It has ended, or may not be read.
    return "";
  }
}

export const isRoot = process.getuid?.() === 0;

/** Prepended to a command to run it as nobody: uid and gid 65534, no other groups. */
export const asNobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/** Whether `asNobody` can be used. */
export const canBecomeNobody = isRoot && Bun.which("setpriv") !== null;

export const strace = Bun.which("strace") ?? "strace";
export const noStrace = !Bun.which("strace") || !Bun.spawnSync([strace, "-e", "trace=none", "true"]).success;

export type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Waits for a child to exit; resolves to its output and exit code. */
export async function ended(child: Pick<Bun.ReadableSubprocess, "stdout" | "stderr" | "exited">): Promise<Ran> {
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}

/** Returns the quoted path of a file in src, for an import in a program that a test writes. */
export const moduleAt = (name: string): string =>
  JSON.stringify(new URL(`../../src/${name}`, import.meta.url).pathname);

/** Returns the system calls with these names that a program makes, in order, with the paths of their files. */
export async function traced(calls: string, program: string): Promise<string> {
  using at = new TempDir();
  const log = at.path("strace");
  const below = [strace, "-f", "-y", "-o", log, "-e", `trace=${calls}`, "-e", "signal=none"];
  const child = Bun.spawn([...below, process.execPath, "-e", program], { stdout: "pipe", stderr: "pipe" });
  const { code, stderr } = await ended(child);
  if (code !== 0) throw new Error(`it ended with ${code}: ${stderr}`);
  return readFileSync(log, "utf8");
}

/** Whether a process is running; a zombie is not. */
export function alive(pid: number): boolean {
  const stat = read(pid, "stat");
  return stat !== "" && stat.charAt(stat.lastIndexOf(")") + 2) !== "Z";
}

/** Returns the signals for which a process has a handler: bit 0 is the first signal. */
export const caught = (pid: number): bigint => BigInt(`0x${/^SigCgt:\s*(\w+)/m.exec(read(pid, "status"))?.[1] ?? "0"}`);

/** Returns the running processes whose environment contains `text`; Linux only. */
export function pidsWith(text: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && read(pid, "environ").includes(text) && alive(pid));
}

/** Returns the environment with which a process was started. */
export const environOf = (pid: number): string => read(pid, "environ").replaceAll("\0", "\n");

/** Returns the command line of a process. */
export const commandOf = (pid: number): string => read(pid, "cmdline").replaceAll("\0", " ").trim();
