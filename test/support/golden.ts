import { expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

/** Compares text with `test/golden/<name>`; with `UPDATE_GOLDEN=1` writes it instead. A missing file fails. */
export function expectGolden(name: string, text: string): void {
  const file = path.join(import.meta.dir, "../golden", name);
  if (process.env["UPDATE_GOLDEN"] === "1") {
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  if (!existsSync(file)) throw new Error(`there is no ${file}; UPDATE_GOLDEN=1 writes it`);
  expect(text).toBe(readFileSync(file, "utf8"));
}
