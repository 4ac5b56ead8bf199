import { readFileSync } from "node:fs";

const closeOnExec = 0o2000000;

/**
 * Whether a descriptor was closed when the process began. Bun opens /dev/null in its place before this program runs and
 * marks it close-on-exec, which no inherited descriptor can be. False if the system does not tell.
 */
export function wasClosed(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "0";
    return (Number.parseInt(flags, 8) & closeOnExec) !== 0;
  } catch {
    return false;
  }
}
