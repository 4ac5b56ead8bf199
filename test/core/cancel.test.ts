import { expect, test } from "bun:test";
import { abortSignalOf, Cancel, endingWith, onAbort } from "../../src/core/cancel.ts";

/** A controller, and a record of whether a listener on its signal was called. */
function listening(controller: AbortController | Cancel) {
  const calls: string[] = [];
  const stop = onAbort(controller.signal, () => calls.push("ended"));
  return { calls, stop };
}

for (const [name, make] of [
  ["AbortController", () => new AbortController()],
  ["Cancel", () => new Cancel()],
] as const) {
  test(`${name}: a listener is called once`, async () => {
    const controller = make();
    const { calls } = listening(controller);
    expect(calls).toEqual([]);
    controller.abort();
    controller.abort();
    await Promise.resolve();
    expect(calls).toEqual(["ended"]);
  });

  test(`${name}: a listener added after the abort is called as well`, async () => {
    const controller = make();
    controller.abort();
    const { calls } = listening(controller);
    await Promise.resolve();
    expect(calls).toEqual(["ended"]);
  });

  test(`${name}: a removed listener is not called`, async () => {
    const controller = make();
    const { calls, stop } = listening(controller);
    stop();
    controller.abort();
    await Promise.resolve();
    expect(calls).toEqual([]);
  });

  test(`${name}: a native signal fires for an abort before or after its creation`, () => {
    const [before, after] = [make(), make()];
    before.abort();
    const signals = [abortSignalOf(before.signal), abortSignalOf(after.signal)];
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
    after.abort();
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
  });
}

test("one listener ends all items of a signal except removed ones; items added after the abort end at once", () => {
  const ended: string[] = [];
  const endWith = endingWith<string>(({ reason }, one) => ended.push(`${one} ${String(reason)}`));
  const [key, other] = [new AbortController(), new AbortController()];
  let listeners = 0;
  const listen = key.signal.addEventListener.bind(key.signal);
  key.signal.addEventListener = (...args: Parameters<AbortSignal["addEventListener"]>) => (
    listeners++,
    listen(...args)
  );
  endWith(key.signal, "a");
  const stop = endWith(key.signal, "b");
  endWith(key.signal, "c");
  endWith(other.signal, "d");
  stop();
  key.abort("revoked");
  expect(ended).toEqual(["a revoked", "c revoked"]);
  endWith(key.signal, "e")();
  expect(ended).toEqual(["a revoked", "c revoked", "e revoked"]);
  expect(listeners).toBe(1);
});
