import { expect, test } from "bun:test";
import type { Draft } from "../../src/audit/draft.ts";
import { Writer } from "../../src/audit/writer.ts";
import { systemClock } from "../../src/core/clock.ts";
import { longestName } from "../../src/core/name.ts";
import { openChain } from "../../src/store/sqlite/chain.ts";
import { tempState } from "./support.ts";

test("R8 what waits for a commit is bounded in bytes, those of long URIs too", async () => {
  using at = tempState();
  const store = openChain(at.db());
  const writer = new Writer({
    store,
    stamp: { chain: "main", boot: "b", node: "n", ver: "1" },
    start: { seq: 0, leaf: new Uint8Array(32) },
    clock: systemClock,
    subjects: [],
    keepText: () => false,
    onDurable: () => {},
    fatal: (reason) => expect.unreachable(reason),
  });
  const tool = "x".repeat(longestName);
  const draft: Draft = { fields: { type: "call.refused", at: 0, mono: 0, tool }, payload: null };
  const refusals: string[] = [];
  // All in one turn of the event loop, so that nothing is committed in between.
  const waiter = { done: () => {}, failed: ({ message }: Error) => void refusals.push(message) };
  for (let count = 0; count < 3000; count += 1) writer.add(draft, "commit", waiter);
  expect(new Set(refusals)).toEqual(new Set(["the audit queue is full"]));
  expect((3000 - refusals.length) * longestName).toBeLessThan(16 << 20);
  await writer.drain();
  store.close();
});
