import { expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { createBallast } from "../../src/daemon/ballast.ts";
import { TempDir } from "../support/temp-dir.ts";
import { canMount, mountTmpfs } from "../support/tmpfs.ts";

// Disk space reserved in a state directory for acts that must be recorded when the disk is full.

const whole = 1024 ** 2;
const piece = 64 * 1024;

test("T04 the ballast is a private, incompressible file, and is freed piece by piece", () => {
  using at = new TempDir();
  const path = at.path("ballast");
  const ballast = createBallast(at.dir);
  expect(statSync(path)).toMatchObject({ size: whole, mode: 0o100_600 });
  expect(gzipSync(readFileSync(path)).length).toBeGreaterThan(0.9 * whole);
  for (let left = whole - piece; left > 0; left -= piece) {
    expect(ballast.give()).toBe(true);
    expect(statSync(path).size).toBe(left);
  }
  expect([ballast.give(), existsSync(path), ballast.give()]).toEqual([true, false, false]);
  const again = createBallast(at.dir);
  expect(statSync(path).size).toBe(whole);
  again.giveAll();
  expect([existsSync(path), again.give()]).toEqual([false, false]);
});

test("T04 opening keeps a complete ballast, and replaces a partial one or a named pipe", () => {
  using at = new TempDir();
  const path = at.path("ballast");
  createBallast(at.dir);
  const before = readFileSync(path);
  createBallast(at.dir);
  expect(readFileSync(path).equals(before)).toBe(true);
  truncateSync(path, piece);
  createBallast(at.dir);
  expect(statSync(path).size).toBe(whole);
  createBallast(at.dir).giveAll();
  Bun.spawnSync(["mkfifo", path]);
  createBallast(at.dir);
  expect(statSync(path)).toMatchObject({ size: whole, mode: 0o100_600 });
});

test("R23 a ballast that cannot be freed reports failure and does not throw", () => {
  using at = new TempDir();
  const ballast = createBallast(at.dir);
  ballast.giveAll();
  mkdirSync(at.path("ballast"));
  expect(ballast.give()).toBe(false);
  expect(() => ballast.giveAll()).not.toThrow();
  expect(createBallast(at.dir).give()).toBe(false);
  rmdirSync(at.path("ballast"));
  // Not even its size can be read.
  symlinkSync("ballast", at.path("ballast"));
  expect(ballast.give()).toBe(false);
});

test.skipIf(!canMount())("T04 no ballast is written to a disk that is short of space (needs a tmpfs)", () => {
  using disk = mountTmpfs("5m");
  const [dir = "", other = ""] = ["state", "other"].map((name) => join(disk?.dir ?? "", name));
  for (const each of [dir, other]) mkdirSync(each);
  writeFileSync(join(other, "filler"), new Uint8Array(2 * whole));
  createBallast(dir);
  expect(existsSync(join(dir, "ballast"))).toBe(false);
});
