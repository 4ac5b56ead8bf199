import { readFileSync } from "node:fs";

const closeOnExec = 0o2000000;

/**
 * Whether a descriptor was closed when the process began. Bun opens /dev/null in its place before anything of ours runs,
 * and marks that to be closed by exec, which nothing inherited can be. False where the system does not tell.
 */
export function wasClosed(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "0";
    return (Number.parseInt(flags, 8) & closeOnExec) !== 0;
  } catch {
    return false;
  }
}
