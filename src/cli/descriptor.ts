import { readFileSync } from "node:fs";
import { orNull } from "../core/attempt.ts";

const closeOnExec = 0o2000000;

/**
 * Reports whether a descriptor was closed when the process started. Bun then opens /dev/null in its place and marks it
 * close-on-exec, which an inherited descriptor cannot be. Returns false if `/proc` does not tell.
 */
export function wasClosed(fd: number): boolean {
  const info = orNull(() => readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")) ?? "";
  const flags = /^flags:\s*([0-7]+)/m.exec(info)?.[1] ?? "0";
  return (Number.parseInt(flags, 8) & closeOnExec) !== 0;
}
