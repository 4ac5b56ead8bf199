import { appendFileSync } from "node:fs";
import { TempDir } from "./temp-dir.ts";

/** Mounts a small separate file system; returns null if this user may not mount one. */
export function mountTmpfs(size: string) {
  const run = (...argv: string[]): boolean =>
    Bun.spawnSync(argv, { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
  const at = new TempDir();
  const { dir } = at;
  const disk = {
    dir,
    [Symbol.dispose](): void {
      if (!run("umount", dir)) run("umount", "-l", dir);
      at[Symbol.dispose]();
    },
  };
  if (run("mount", "-t", "tmpfs", "-o", `size=${size},mode=0700`, "tmpfs", dir)) return disk;
  disk[Symbol.dispose]();
  return null;
}

/** Whether this user may mount a file system. */
export function canMount(): boolean {
  using disk = mountTmpfs("1m");
  return disk !== null;
}

/** Writes until the file system is full. */
export function fill(file: string): void {
  for (let size = 64 * 1024; size >= 1; size = Math.floor(size / 2)) {
    try {
      for (;;) appendFileSync(file, new Uint8Array(size));
    } catch {
      // Full for this size; a smaller write may still fit.
    }
  }
}
