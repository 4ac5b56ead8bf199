import { afterEach, expect, mock, spyOn, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { buildAll, stale } from "../../scripts/lib/build.ts";
import { TempDir } from "../support/temp-dir.ts";

afterEach(() => mock.restore());

test("a binary is stale if a source was changed, added or deleted after it was built", () => {
  using checkout = new TempDir();
  const sources = ["package.json", "bun.lock", "scripts/lib/build.ts", "src/main.ts", "src/core/a.ts", "src/core/b.ts"];
  const write = (path: string): void => {
    mkdirSync(dirname(checkout.path(path)), { recursive: true });
    writeFileSync(checkout.path(path), "");
  };
  // Everything is dated in the past, so that whatever the test does is later.
  const build = (): void => {
    for (const path of [...sources, "dist/mcpgw", "src", "src/core"]) {
      utimesSync(checkout.path(path), 1_000, path === "dist/mcpgw" ? 2_000 : 1_000);
    }
  };
  sources.forEach(write);
  expect(stale(checkout.dir)).toBe(true);
  write("dist/mcpgw");
  build();
  expect(stale(checkout.dir)).toBe(false);
  write("src/core/b.ts");
  expect(stale(checkout.dir)).toBe(true);
  build();
  write("src/core/c.ts");
  expect(stale(checkout.dir)).toBe(true);
  rmSync(checkout.path("src/core/c.ts"));
  build();
  rmSync(checkout.path("src/core/b.ts"));
  expect(stale(checkout.dir)).toBe(true);
});

test("build --all builds the binary of each target and SHA256SUMS, and fails if this machine's own binary does not run", async () => {
  using at = new TempDir();
  const said: unknown[] = [];
  spyOn(console, "log").mockImplementation((line) => void said.push(line));
  const own = `mcpgw-${process.platform}-${process.arch}`;
  const build = (runs: (file: string) => boolean) =>
    buildAll(at.dir, async (file) => {
      writeFileSync(file, `#!/bin/sh\necho 9.9.9 ${basename(file)}\nexit ${runs(file) ? 0 : 3}\n`, { mode: 0o755 });
    });
  expect(await build((file) => file.includes(own))).toBe(true);
  const names = ["linux-x64", "linux-arm64", "linux-x64-musl", "linux-arm64-musl", "darwin-x64", "darwin-arm64"];
  const sums = readFileSync(at.path("SHA256SUMS"), "utf8").trimEnd().split("\n");
  const sumOf = (file: string) => new Bun.CryptoHasher("sha256").update(readFileSync(at.path(file))).digest("hex");
  expect(sums).toEqual(names.map((name) => `${sumOf(`mcpgw-${name}`)}  mcpgw-${name}`));
  const untested = names.map((name) => `mcpgw-${name}`).filter((file) => !file.includes(own));
  expect(said.at(-1)).toBe(`SHA256SUMS: 6 binaries; untested: ${untested.join(", ")}`);
  expect(said.filter((line) => String(line).includes("runs, version 9.9.9"))).toHaveLength(6 - untested.length);
  expect(await build((file) => !file.includes(own))).toBe(false);
});
