import { expect, test } from "bun:test";
import { Cancel, onAbort } from "../../src/core/cancel.ts";

/** A controller and whether what listens to its signal was called. */
function listening(controller: AbortController | Cancel) {
  const calls: string[] = [];
  const stop = onAbort(controller.signal, () => calls.push("ended"));
  return { calls, stop };
}

for (const [name, make] of [
  ["AbortController", () => new AbortController()],
  ["Cancel", () => new Cancel()],
] as const) {
  test(`${name}: what listens is told once`, async () => {
    const controller = make();
    const { calls } = listening(controller);
    expect(calls).toEqual([]);
    controller.abort();
    controller.abort();
    await Promise.resolve();
    expect(calls).toEqual(["ended"]);
  });

  test(`${name}: what begins to listen too late is told as well`, async () => {
    const controller = make();
    controller.abort();
    const { calls } = listening(controller);
    await Promise.resolve();
    expect(calls).toEqual(["ended"]);
  });

  test(`${name}: what has stopped listening is not told`, async () => {
    const controller = make();
    const { calls, stop } = listening(controller);
    stop();
    controller.abort();
    await Promise.resolve();
    expect(calls).toEqual([]);
  });
}
