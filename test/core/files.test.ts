import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  createFile,
  readRegular,
  readRegularSync,
  replaceFile,
  replaceOwnFile,
  UnfitFile,
} from "../../src/core/files.ts";
import { reasonOf } from "../support/failure.ts";
import { moduleAt, noStrace, traced } from "../support/processes.ts";
import { TempDir } from "../support/temp-dir.ts";
import { canMount, mountTmpfs } from "../support/tmpfs.ts";

test("files: if several writers create the same file, one wins and leaves nothing else behind", async () => {
  using at = new TempDir();
  const path = at.path("key");
  const texts = Array.from({ length: 8 }, (_, index) => `text ${index}`);
  const seen = await Promise.all(texts.map((text) => createFile(path, text).then(() => readFileSync(path, "utf8"))));
  expect(new Set(seen).size).toBe(1);
  await createFile(path, "late");
  expect(readFileSync(path, "utf8")).toBe(seen[0] ?? "");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(at.dir)).toEqual(["key"]);
});

test.skipIf(noStrace)(
  "T02 files: a created file survives a power cut with its text and name (needs strace)",
  async () => {
    using at = new TempDir();
    const code = `
    import { createFile } from ${moduleAt("core/files.ts")};
    await createFile(${JSON.stringify(at.path("key"))}, "text");`;
    const calls = await traced("link,linkat,fsync", code);
    const made = [...calls.matchAll(/(link|fsync)(?:at)?\((?:\d+<([^>]*)>)?/g)].map(
      ([, call, path]) => `${call} ${path}`,
    );
    expect(made).toEqual([
      expect.stringMatching(/^fsync .*\/key\../),
      expect.stringMatching(/^link/),
      `fsync ${at.dir}`,
    ]);
  },
);

test("files: a replaced file has the given text and mode, and its directory is created", async () => {
  using at = new TempDir();
  const path = at.path("new", "note");
  await replaceFile(path, "one");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  await Promise.all([replaceFile(path, "two", 0o664), replaceFile(path, "two", 0o664)]);
  expect([readFileSync(path, "utf8"), statSync(path).mode & 0o777]).toEqual(["two", 0o664]);
  expect([readdirSync(at.path("new")), statSync(at.path("new")).mode & 0o777]).toEqual([["note"], 0o700]);
});

test("files: the next write of a single-writer file removes the draft that a killed writer left", async () => {
  using at = new TempDir();
  const path = at.path("main.head");
  const code = `
    import { readdirSync } from "node:fs";
    import { replaceOwnFile } from ${moduleAt("core/files.ts")};
    const look = () => readdirSync(${JSON.stringify(at.dir)}).length > 0 ? process.kill(process.pid, "SIGKILL") : setImmediate(look);
    look();
    await replaceOwnFile(${JSON.stringify(path)}, "one".repeat(10_000_000));`;
  const child = Bun.spawn([process.execPath, "-e", code], { stderr: "inherit" });
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
  expect(readdirSync(at.dir)).toEqual([expect.stringMatching(/^main\.head\../)]);
  await replaceOwnFile(path, "two");
  expect([readFileSync(path, "utf8"), readdirSync(at.dir)]).toEqual(["two", ["main.head"]]);
});

test("files: a failed write leaves no draft behind", async () => {
  using at = new TempDir();
  const path = at.path("taken");
  mkdirSync(path);
  expect(await reasonOf(replaceFile(path, "text"))).toBeInstanceOf(Error);
  expect(readdirSync(at.dir)).toEqual(["taken"]);
});

test.skipIf(!canMount())(
  "files: on a read-only file system the error of the write is reported (needs mount as root)",
  async () => {
    using disk = mountTmpfs("1m");
    if (!disk) throw new Error("nothing is mounted");
    Bun.spawnSync(["mount", "-o", "remount,ro", disk.dir]);
    expect(String(await reasonOf(replaceFile(`${disk.dir}/file`, "text")))).toContain(", open '");
  },
);

test("files: reading anything but a regular file fails at once, even a pipe without a writer", async () => {
  using at = new TempDir();
  writeFileSync(at.path("file"), "text");
  mkdirSync(at.path("directory"));
  Bun.spawnSync(["mkfifo", at.path("pipe")]);
  expect([readRegularSync(at.path("file"), 4).toString(), await readRegular(at.path("file"))]).toEqual([
    "text",
    "text",
  ]);
  expect(await readRegular("/proc/self/mounts")).not.toBe("");
  for (const name of ["directory", "pipe"]) {
    const unfit = `${at.path(name)} is not a regular file`;
    expect(() => readRegularSync(at.path(name))).toThrow(unfit);
    expect(await reasonOf(readRegular(at.path(name)))).toMatchObject({ name: "UnfitFile", message: unfit });
  }
  expect(() => readRegularSync(at.path("file"), 3)).toThrow(new UnfitFile(at.path("file"), true));
});

test.skipIf(!canMount())(
  "files: a full disk is reported with the file's path and leaves no draft (needs a tmpfs)",
  async () => {
    using disk = mountTmpfs("64k");
    if (!disk) throw new Error("a file system that could be mounted before cannot be mounted now");
    const path = join(disk.dir, "main.head");
    const full = { code: "ENOSPC", message: expect.stringContaining(`${path}.draft: ENOSPC`) as unknown };
    expect(await reasonOf(replaceOwnFile(path, "x".repeat(1 << 20)))).toMatchObject(full);
    expect(readdirSync(disk.dir)).toEqual([]);
  },
);
