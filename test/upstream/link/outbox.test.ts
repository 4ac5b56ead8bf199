import { expect, test } from "bun:test";
import { Outbox, type Send } from "../../../src/upstream/link/outbox.ts";

test("bytes may wait up to the limit, or a single longer message", () => {
  const sent: string[] = [];
  let way: Send | null = null;
  const outbox = new Outbox(() => way, 10);
  expect([outbox.write("a", "x".repeat(20)), outbox.write("b", "x")]).toEqual([true, false]);
  expect([outbox.take("a"), outbox.take("a"), outbox.take("b")]).toEqual([true, false, false]);
  expect([outbox.write("c", "ééé"), outbox.write("d", "1234"), outbox.write("e", "5")]).toEqual([true, true, false]);
  way = (key, text) => void sent.push(`${key} ${text}`);
  outbox.flush();
  expect(sent).toEqual(["c ééé", "d 1234"]);
  way = null;
  expect(outbox.write("f", "x".repeat(10))).toBe(true);
});
