import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { stale } from "../../scripts/lib/build.ts";

test("a binary is stale once a source was changed, added or deleted after it was built", () => {
  const checkout = mkdtempSync(join(tmpdir(), "mcpgw-build-"));
  const sources = ["package.json", "bun.lock", "scripts/lib/build.ts", "src/main.ts", "src/core/a.ts", "src/core/b.ts"];
  const write = (path: string): void => {
    mkdirSync(dirname(join(checkout, path)), { recursive: true });
    writeFileSync(join(checkout, path), "");
  };
  // Everything lies in the past, so that whatever the test does is later.
  const build = (): void => {
    for (const path of [...sources, "dist/mcpgw", "src", "src/core"]) {
      utimesSync(join(checkout, path), 1_000, path === "dist/mcpgw" ? 2_000 : 1_000);
    }
  };
  try {
    sources.forEach(write);
    expect(stale(checkout)).toBe(true);
    write("dist/mcpgw");
    build();
    expect(stale(checkout)).toBe(false);
    write("src/core/b.ts");
    expect(stale(checkout)).toBe(true);
    build();
    write("src/core/c.ts");
    expect(stale(checkout)).toBe(true);
    rmSync(join(checkout, "src/core/c.ts"));
    build();
    rmSync(join(checkout, "src/core/b.ts"));
    expect(stale(checkout)).toBe(true);
  } finally {
    rmSync(checkout, { recursive: true });
  }
});
