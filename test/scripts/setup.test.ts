import { expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");

test("a set-up that cannot begin says why, and guesses no other reason", async () => {
  const checkout = mkdtempSync(join(tmpdir(), "mcpgw-setup-"));
  try {
    mkdirSync(join(checkout, "scripts/lib"), { recursive: true });
    for (const file of ["package.json", "scripts/bun", "scripts/lib/setup.sh"])
      cpSync(join(root, file), join(checkout, file));
    writeFileSync(join(checkout, "scripts/try"), '. "$(dirname -- "$0")/lib/setup.sh"\n');
    // A machine with neither Bun nor npm.
    const bin = join(checkout, "bin");
    mkdirSync(bin);
    for (const name of ["sh", "sed", "dirname"]) symlinkSync(Bun.which(name) ?? "", join(bin, name));
    const child = Bun.spawn([join(bin, "sh"), join(checkout, "scripts/try")], { env: { PATH: bin }, stderr: "pipe" });
    expect(await child.stderr.text()).toMatch(/^mcpgw needs npm \(Node\.js\) to fetch Bun [\d.]+; [^\n]+\n$/);
    expect(await child.exited).toBe(1);
  } finally {
    rmSync(checkout, { recursive: true });
  }
});
