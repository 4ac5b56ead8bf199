import { expect, test } from "bun:test";
import { Resumptions } from "../../../src/upstream/http/resumptions.ts";

/** The pauses until it gives up, at most 1,000. */
function pauses(what: "message" | "position" | "nothing", retry: number | null): number[] {
  const resumptions = new Resumptions();
  const all: number[] = [];
  for (let pause = resumptions.next(retry); pause !== null && all.length < 1_000; pause = resumptions.next(retry)) {
    all.push(pause);
    resumptions.brought(what);
  }
  return all;
}

test("a stream that brings nothing is resumed five times, one that brings only event ids a hundred times", () => {
  expect(pauses("nothing", 200)).toEqual([200, 400, 800, 1_600, 3_200]);
  expect(pauses("nothing", null).length).toBe(5);
  expect(pauses("position", 200)).toEqual(Array.from({ length: 100 }, () => 200));
  expect(pauses("message", 200).length).toBe(1_000);
});

test("no server can make the gateway resume without a pause", () => {
  for (const what of ["message", "position", "nothing"] as const) expect(Math.min(...pauses(what, 0))).toBe(100);
});
