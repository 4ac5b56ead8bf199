import { expect, test } from "bun:test";
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../support/temp-dir.ts";

const root = join(import.meta.dir, "../..");

test("a setup that cannot begin prints the reason, and only that", async () => {
  using checkout = new TempDir();
  mkdirSync(checkout.path("scripts/lib"), { recursive: true });
  for (const file of ["package.json", "scripts/bun", "scripts/lib/setup.sh"])
    cpSync(join(root, file), checkout.path(file));
  writeFileSync(checkout.path("scripts/try"), '. "$(dirname -- "$0")/lib/setup.sh"\n');
  // A machine with neither Bun nor npm.
  const bin = checkout.path("bin");
  mkdirSync(bin);
  for (const name of ["sh", "sed", "dirname"]) symlinkSync(Bun.which(name) ?? "", join(bin, name));
  const child = Bun.spawn([join(bin, "sh"), checkout.path("scripts/try")], { env: { PATH: bin }, stderr: "pipe" });
  expect(await child.stderr.text()).toMatch(/^mcpgw needs npm \(Node\.js\) to fetch Bun [\d.]+; [^\n]+\n$/);
  expect(await child.exited).toBe(1);
});
