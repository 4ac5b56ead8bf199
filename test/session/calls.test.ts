import { expect, test } from "bun:test";
import { Withdrawn } from "../../src/core/cancel.ts";
import { ClientCalls } from "../../src/session/calls.ts";

test.each([
  ['"s-\\u00e9"', '"s-é"', true],
  ['"s-é"', '"s-\\u00e9"', true],
  ['"\\\\"', '"\\u005c"', true],
  ['"1"', "1", false],
  ["7", "7.0", true],
  ["10.0", "10", true],
  ['"7.0"', '"7"', false],
  ["70", "7", false],
])("S20: whether the call %s ends when it is cancelled as %s: %p", (began, cancelled, ends) => {
  const calls = new ClientCalls();
  const call = new AbortController();
  calls.began(began, call);
  expect(calls.cancel(cancelled, new Withdrawn(null))).toBe(ends);
  expect(call.signal.aborted).toBe(ends);
});

test("S20: an expected call can be cancelled before it begins and while it runs", () => {
  const calls = new ClientCalls();
  const [early, late] = [new AbortController(), new AbortController()];
  for (const id of ["1", "2"]) calls.expect(id);
  expect(calls.cancel("1", new Withdrawn(null))).toBe(true);
  calls.began("1", early);
  calls.began("2", late);
  expect([early.signal.aborted, late.signal.aborted]).toEqual([true, false]);
  expect(calls.cancel("2", new Withdrawn(null))).toBe(true);
  expect(late.signal.aborted).toBe(true);
});

test("S20: of two calls with the same id the newer is cancelled, unless it has ended", () => {
  const calls = new ClientCalls();
  const [older, newer] = [new AbortController(), new AbortController()];
  calls.began("1", older);
  const place = calls.began("1", newer);
  expect(calls.cancel("1", new Withdrawn(null))).toBe(true);
  expect([older.signal.aborted, newer.signal.aborted]).toEqual([false, true]);
  calls.finished(place);
  expect(calls.size).toBe(1);
  expect(calls.cancel("1", new Withdrawn(null))).toBe(true);
  expect(older.signal.aborted).toBe(true);
});
