import { closeSync, fdatasyncSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { median } from "./stats.ts";

/** The file system of the state: whether it is on a disk, and its median fdatasync time in ms. */
export type Disk = { readonly isDisk: boolean; readonly syncMs: number };

// Linux's magic numbers of tmpfs and ramfs.
const inMemory: readonly number[] = [0x01021994, 0x858458f6];

/** Measures a file system by writing 4 KiB and syncing, 200 times. */
export function measureDisk(dir: string): Disk {
  const file = join(dir, "sync-probe");
  const fd = openSync(file, "w");
  const block = Buffer.alloc(4096, 1);
  const times: number[] = [];
  for (let round = 0; round < 200; round++) {
    writeSync(fd, block);
    const started = performance.now();
    fdatasyncSync(fd);
    times.push(performance.now() - started);
  }
  closeSync(fd);
  rmSync(file);
  return { isDisk: !inMemory.includes(statfsSync(dir).type), syncMs: median(times) };
}
