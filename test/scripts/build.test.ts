import { expect, test } from "bun:test";
import { mkdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { stale } from "../../scripts/lib/build.ts";
import { TempDir } from "../support/temp-dir.ts";

test("a binary is stale once a source was changed, added or deleted after it was built", () => {
  using checkout = new TempDir();
  const sources = ["package.json", "bun.lock", "scripts/lib/build.ts", "src/main.ts", "src/core/a.ts", "src/core/b.ts"];
  const write = (path: string): void => {
    mkdirSync(dirname(checkout.path(path)), { recursive: true });
    writeFileSync(checkout.path(path), "");
  };
  // Everything lies in the past, so that whatever the test does is later.
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
