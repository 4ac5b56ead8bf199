import { expect, test } from "bun:test";
import { Withdrawn } from "../../src/core/cancel.ts";
import { ClientCalls } from "../../src/session/calls.ts";

test.each([
  ['"s-\\u00e9"', '"s-é"', true],
  ['"s-é"', '"s-\\u00e9"', true],
  ['"\\\\"', '"\\u005c"', true],
  ['"1"', "1", false],
])("S20: the call %s, cancelled as %s, ends: %p", (began, cancelled, ends) => {
  const calls = new ClientCalls();
  const call = new AbortController();
  calls.began(began, call);
  calls.cancel(cancelled, new Withdrawn(null));
  expect(call.signal.aborted).toBe(ends);
});
