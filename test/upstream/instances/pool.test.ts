import { expect, test } from "bun:test";
import { usualBreaker } from "../../../src/upstream/breaker.ts";
import { Pool } from "../../../src/upstream/instances/pool.ts";
import type { Spec } from "../../../src/upstream/instances/spec.ts";
import { failureOf } from "../../support/failure.ts";
import { stillClock } from "../../support/principal.ts";

const spec: Spec = { key: "k", era: "legacy", declares: "{}", asks: false, owner: "key:a", session: null };
const room = { maxInstances: 4, idleStop: 60_000 };

function poolOf(start: () => Promise<never> = () => Promise.reject(new Error("it does not start"))) {
  const ended = Promise.withResolvers<void>();
  let starts = 0;
  const pool = new Pool({
    server: "crm",
    clock: stillClock(),
    breaker: usualBreaker,
    start: () => (starts++, start()),
    ended: () => ended.resolve(),
    isSubscribed: () => false,
    crashed: () => {},
  });
  return { pool, ended: ended.promise, started: () => starts };
}

test("T42: nothing is started for a caller that has lost its key", () => {
  const { pool } = poolOf();
  const opening = (): unknown => pool.open(spec, room, { until: AbortSignal.abort(), ask: null });
  expect(failureOf(opening).code).toBe("cancelled");
  expect(pool.size).toBe(0);
});

test("T42: what was started for a caller ends with its key", () => {
  const { pool } = poolOf();
  const key = new AbortController();
  const slot = pool.open(spec, room, { until: key.signal, ask: null });
  slot.starting.catch(() => {});
  expect(pool.find(spec.key)).toBe(slot);
  key.abort();
  expect(pool.find(spec.key)).toBeUndefined();
});

test("R113: an instance that failed is not started again before its time, another one is", async () => {
  const { pool, ended, started } = poolOf();
  const open = (key: string) => pool.open({ ...spec, key }, room, { until: null, ask: null });
  open("k").starting.catch(() => {});
  await ended;
  expect(failureOf(() => open("k")).detail).toMatchObject({ ran: "no", retryAfterMs: expect.any(Number) });
  await open("other").starting.catch(() => {});
  expect(started()).toBe(2);
});

test("an instance that was asked to end has not failed, and the next of its key is another's", async () => {
  let starts = 0;
  const { pool, ended } = poolOf(() =>
    ++starts === 1 ? Promise.reject(new Error("too late")) : new Promise(() => {}),
  );
  const opener = { until: null, ask: null };
  const first = pool.open(spec, room, opener);
  void pool.stop(first);
  const second = pool.open(spec, room, opener);
  await ended;
  expect([pool.crashes, pool.wait(spec.key), pool.find(spec.key) === second]).toEqual([0, 0, true]);
});

test("S23: the calls in flight to one server are limited", () => {
  const { pool } = poolOf();
  for (let i = 0; i < 1024; i++) pool.enter();
  expect(failureOf(() => pool.enter()).code).toBe("overloaded");
  pool.leave();
  pool.enter();
});
