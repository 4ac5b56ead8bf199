import { expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { maxSealMs } from "../../src/core/ports.ts";
import { loadSealKeys } from "../../src/seal/keys.ts";
import { createSealer } from "../../src/seal/seal.ts";
import { reasonOf } from "../support/failure.ts";
import { TempDir } from "../support/temp-dir.ts";

test("seal.key: a value sealed for the maximum time can be opened for that time, however often the daemon starts", async () => {
  using at = new TempDir();
  const file = at.path("seal.key");
  const born = Date.now();
  let now = born;
  const clock = { now: () => now * 1000, mono: () => now * 1000 };
  const start = async () => {
    const before = existsSync(file) ? statSync(file).ino : 0;
    const keys = await loadSealKeys(file, now);
    // A file that it has written gets the current test time.
    if (statSync(file).ino !== before) utimesSync(file, now / 1000, now / 1000);
    return createSealer(keys, clock);
  };
  await start();
  // The key is as old as it can get, so the next start makes it the previous one.
  now = born + maxSealMs - 1_000;
  const sealed = (await start()).seal("task", "key:a", "x", maxSealMs);
  for (const days of [1, 100, 366]) {
    now = born + maxSealMs - 1_000 + days * 86_400_000 - 1;
    expect((await start()).open("task", "key:a", sealed)).toBe("x");
  }
  now += 2;
  expect((await start()).open("task", "key:a", sealed)).toBeNull();
  const anew = (await start()).seal("task", "key:a", "y", maxSealMs);
  expect((await start()).open("task", "key:a", anew)).toBe("y");
});

test("seal.key: an expired key no longer seals", async () => {
  using at = new TempDir();
  const file = at.path("seal.key");
  const [first] = await loadSealKeys(file, Date.now());
  const age = Date.now() - statSync(file).mtimeMs;
  const [current, previous] = await loadSealKeys(file, Date.now() - age + maxSealMs + 1);
  expect(previous).toEqual(first);
  expect(current).not.toEqual(first);
});

test("seal.key: a file that other users can read is refused", async () => {
  using at = new TempDir();
  const file = at.path("seal.key");
  await loadSealKeys(file, Date.now());
  const before = readFileSync(file, "utf8");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  chmodSync(file, 0o640);
  expect(String(await reasonOf(loadSealKeys(file, Date.now())))).toContain("chmod 600");
  chmodSync(file, 0o600);
  await loadSealKeys(file, Date.now());
  expect(readFileSync(file, "utf8")).toBe(before);
});

test("S07: a seal.key without two keys of full length is refused and left unchanged", async () => {
  using at = new TempDir();
  const file = at.path("seal.key");
  await loadSealKeys(file, Date.now());
  const [one = "", two = ""] = readFileSync(file, "utf8").split("\n");
  for (const text of ["", one, `\n${two}`, `${one}\n${two.slice(4)}`, `${one.slice(4)}\n${two}`]) {
    writeFileSync(file, text);
    expect(String(await reasonOf(loadSealKeys(file, Date.now())))).toContain("does not contain two keys; delete it");
    expect(readFileSync(file, "utf8")).toBe(text);
  }
});
