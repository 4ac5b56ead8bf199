import { expect, test } from "bun:test";
import { Listeners, listenLimits } from "../../src/gateway/listeners.ts";
import { failureOf } from "../support/failure.ts";

test("S16: a listener's reservations count until it gives them back", () => {
  const listeners = new Listeners();
  const { uris, characters, perOwner } = listenLimits;
  for (const [count, length] of [
    [uris, 0],
    [1, characters],
  ] as const) {
    for (let times = 0; times < 3; times++) {
      const leave = listeners.take("key:a", count, length);
      expect(failureOf(() => listeners.take("key:a", 1, 1)).code).toBe("overloaded");
      listeners.take("key:b", 1, 1)();
      leave();
    }
  }
  const open = () => listeners.open({ owner: "key:a", scope: null, servers: new Set(), tasks: false, end() {} });
  for (let times = 0; times < 3; times++) {
    const leave = Array.from({ length: perOwner }, open);
    expect(failureOf(open).code).toBe("overloaded");
    for (const each of leave) each();
  }
  expect([listeners.size, listeners.uris]).toEqual([0, 0]);
});
