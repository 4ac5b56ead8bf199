import { expect } from "bun:test";
import { closeSync, constants, openSync, rmSync } from "node:fs";

// A file that never answers, as on a network file system whose server is gone. The stand-in is a named pipe without a
// reader or writer at its other end: opening it blocks a disk thread forever.

/** Replaces a file with one that does not answer. */
export function stall(file: string): void {
  rmSync(file, { force: true });
  expect(Bun.spawnSync(["mkfifo", file]).exitCode).toBe(0);
}

/** Unblocks everyone who waits for the file, and removes it. */
export function free(file: string): void {
  const fd = openSync(file, constants.O_RDWR | constants.O_NONBLOCK);
  rmSync(file);
  closeSync(fd);
}
