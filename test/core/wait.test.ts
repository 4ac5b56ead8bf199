import { expect, setDefaultTimeout, test } from "bun:test";
import { Cancel } from "../../src/core/cancel.ts";
import { sleep, retryUntil, within } from "../../src/core/wait.ts";
import { suspendProcess } from "../support/stand-still.ts";

setDefaultTimeout(30_000);

const never = (): Promise<string> => new Promise(() => {});

test("within() returns a timely value and leaves neither timer nor listener behind", async () => {
  const removed: string[] = [];
  const signal = { aborted: false, addEventListener() {}, removeEventListener: () => void removed.push("it") };
  expect(await within(Promise.resolve("value"), 60_000, signal, (why) => why)).toBe("value");
  expect(removed).toEqual(["it"]);
  const broken = new Error("broken");
  const failing = within(Promise.reject(broken), 60_000, null, () => null);
  expect(await failing.catch((error: unknown) => error)).toBe(broken);
});

test("a wait that ends early returns what its callback returns, or throws what it throws", async () => {
  expect(await within(never(), 1, null, (why) => why)).toBe("late");
  const cancel = new Cancel();
  const waiting = within(never(), 60_000, cancel, (why) => why);
  cancel.abort();
  expect(await waiting).toBe("aborted");
  expect(await within(never(), 60_000, cancel, (why) => why)).toBe("aborted");
  expect(await within(never(), null, cancel, (why) => why)).toBe("aborted");
  const late = new Error("too late");
  const failing = within(never(), 1, null, () => {
    throw late;
  });
  expect(await failing.catch((error: unknown) => error)).toBe(late);
});

test("a value that arrived while the process was stalled is not late; a missing value is, soon afterwards", async () => {
  const { stdout } = Bun.spawn(["sh", "-c", "sleep 0.2; printf value"]);
  const waits = [stdout.text(), never()].map((one) => within(one, 300, null, (why) => why));
  await suspendProcess(900);
  expect(await Promise.all(waits)).toEqual(["value", "late"]);
});

test("an attempt is repeated until it returns something, at least once and not forever", async () => {
  let attempts = 0;
  expect(await retryUntil(() => (++attempts < 3 ? null : 0), 60_000)).toBe(0);
  expect(attempts).toBe(3);
  expect(await retryUntil(() => (++attempts, null), 0)).toBeNull();
  expect(attempts).toBe(4);
});

test("sleep() ends with its time or its signal", async () => {
  const { signal } = new AbortController();
  await sleep(1, signal);
  await sleep(60_000, AbortSignal.abort());
});

test("a wait longer than the maximum timer delay does not end at once", async () => {
  const cancel = new Cancel();
  const waiting = within(never(), 30 * 86_400_000, cancel, (why) => why);
  // Timers fire in order.
  await sleep(2, cancel);
  cancel.abort();
  expect(await waiting).toBe("aborted");
});
