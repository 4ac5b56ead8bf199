import { expect, setDefaultTimeout, test } from "bun:test";
import { answered, FileUnanswered } from "../../src/audit/answered.ts";
import { reasonOf } from "../support/failure.ts";

setDefaultTimeout(30_000);

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
    // Each such step would hold a thread.
    expect(await ask(Promise.resolve())).toBeInstanceOf(FileUnanswered);
    expect(steps).toBe(1);
    end(late);
    await late.promise.catch(() => {});
    await answered(file, async () => void steps++);
    expect(steps).toBe(2);
  },
  30_000,
);
