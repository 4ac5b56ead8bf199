import { expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const fileOf = (name: string): string => path.join(import.meta.dir, "../golden", name);

/** Whether text equals `test/golden/<name>`. */
export const isGolden = (name: string, text: string): boolean =>
  existsSync(fileOf(name)) && readFileSync(fileOf(name), "utf8") === text;

/** Compares text with `test/golden/<name>`, or writes the file if `UPDATE_GOLDEN=1`. A missing file fails. */
export function expectGolden(name: string, text: string): void {
  const file = fileOf(name);
  if (process.env["UPDATE_GOLDEN"] === "1") {
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  if (!existsSync(file)) throw new Error(`there is no ${file}; UPDATE_GOLDEN=1 writes it`);
  expect(text).toBe(readFileSync(file, "utf8"));
}
