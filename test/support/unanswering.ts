import { expect } from "bun:test";
import { closeSync, constants, openSync, rmSync } from "node:fs";

// A file that never answers, as on a network file system whose server is gone. The stand-in is a named pipe that nobody
// has opened at its other end: opening it waits for ever, in a thread of the disk.

/** Puts a file in a state where it does not answer. */
export function stall(file: string): void {
  rmSync(file, { force: true });
  expect(Bun.spawnSync(["mkfifo", file]).exitCode).toBe(0);
}

/** Lets whoever waits for the file go on, and removes it. */
export function free(file: string): void {
  const fd = openSync(file, constants.O_RDWR | constants.O_NONBLOCK);
  rmSync(file);
  closeSync(fd);
}
