import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readlinkSync, truncateSync, writeFileSync } from "node:fs";
import { answered, FileUnanswered, readAnswered } from "../../src/audit/answered.ts";
import { gatherEvidence } from "../../src/audit/evidence.ts";
import { orNull } from "../../src/core/attempt.ts";
import { Cancel } from "../../src/core/cancel.ts";
import { reasonOf } from "../support/failure.ts";
import { TempDir } from "../support/temp-dir.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

test("R9 a file is closed and no longer read after the request for it was canceled", async () => {
  using at = new TempDir();
  const file = at.path("long");
  writeFileSync(file, "");
  truncateSync(file, 2 ** 33);
  const left = new Cancel();
  const publicKey = new Uint8Array(32).toBase64();
  const gathered = gatherEvidence({ dir: null, sources: [file], publicKey, signal: left });
  const isOpen = () =>
    readdirSync("/proc/self/fd").some((fd) => orNull(() => readlinkSync(`/proc/self/fd/${fd}`)) === file);
  await until(isOpen, "open");
  left.abort();
  expect(String(await reasonOf(gathered))).toContain("The request was canceled.");
  await until(() => !isOpen(), "closed");
});

test("R9 a long file is read in parts of one megabyte and never held in memory as a whole", async () => {
  using at = new TempDir();
  const file = at.path("long");
  writeFileSync(file, "");
  truncateSync(file, 8 << 20);
  const lengths = (await Array.fromAsync(readAnswered(file))).map(({ length }) => length);
  expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(8 << 20);
  expect(Math.max(...lengths)).toBeLessThanOrEqual(1 << 20);
});

test.concurrent.each([
  ["answers", (late: PromiseWithResolvers<void>) => late.resolve()],
  ["fails", (late: PromiseWithResolvers<void>) => late.reject(new Error("EIO"))],
])(
  "R9 T46 a file that does not answer in time is left alone until it %s",
  async (file, end) => {
    const late = Promise.withResolvers<void>();
    let steps = 0;
    const ask = (step: Promise<void>) => reasonOf(answered(file, () => (steps++, step)));
    expect(await ask(late.promise)).toBeInstanceOf(FileUnanswered);
    // Each further step would hold a thread.
    expect(await ask(Promise.resolve())).toBeInstanceOf(FileUnanswered);
    expect(steps).toBe(1);
    end(late);
    await late.promise.catch(() => {});
    await answered(file, async () => void steps++);
    expect(steps).toBe(2);
  },
  30_000,
);
