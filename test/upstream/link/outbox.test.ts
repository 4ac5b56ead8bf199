import { expect, test } from "bun:test";
import { createOutbox } from "../../../src/upstream/link/outbox.ts";

test("so many bytes may wait, and one message alone that is longer", () => {
  const outbox = createOutbox(10);
  expect([outbox.put("a", "x".repeat(20)), outbox.put("b", "x")]).toEqual([true, false]);
  expect([outbox.take("a"), outbox.take("a"), outbox.take("b")]).toEqual([true, false, false]);
  expect([outbox.put("c", "ééé"), outbox.put("d", "1234"), outbox.put("e", "5")]).toEqual([true, true, false]);
  expect([...outbox.drain()]).toEqual([
    ["c", "ééé"],
    ["d", "1234"],
  ]);
  expect([...outbox.drain()]).toEqual([]);
  expect(outbox.put("f", "x".repeat(10))).toBe(true);
});
