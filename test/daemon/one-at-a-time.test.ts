import { expect, test } from "bun:test";
import { Cancel } from "../../src/core/cancel.ts";
import { createTurnQueue } from "../../src/daemon/handlers/one-at-a-time.ts";

test("owners take turns, one task each, however many tasks one of them queues", async () => {
  const inTurn = createTurnQueue();
  const begun: string[] = [];
  const ask = (owner: string, name: string, signal = new Cancel()): Promise<unknown> =>
    inTurn(owner, signal, async () => void begun.push(name)).catch(() => {});
  const left = new Cancel();
  const asked = [
    ...["a1", "a2", "a3"].map((name) => ask("alice", name)),
    ask("bob", "b1", left),
    ...["o1", "o2"].map((name) => ask("operator", name)),
    ask("alice", "a4"),
  ];
  left.abort();
  await Promise.all(asked);
  expect(begun).toEqual(["a1", "a2", "o1", "a3", "o2", "a4"]);
  await ask("bob", "b2");
  expect(begun.at(-1)).toBe("b2");
});

test("a task that fails, at once or later, lets the next one start", async () => {
  const inTurn = createTurnQueue();
  const signal = new Cancel();
  const fails = [
    (): Promise<never> => Promise.reject(new Error("later")),
    (): Promise<never> => {
      throw new Error("at once");
    },
  ].map((work) => inTurn("alice", signal, work));
  const last = inTurn("bob", signal, async () => "done");
  expect((await Promise.allSettled(fails)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(await last).toBe("done");
});
