import { expect, test } from "bun:test";
import { defaultBreaker } from "../../../src/upstream/breaker.ts";
import { Pool } from "../../../src/upstream/instances/pool.ts";
import type { Spec } from "../../../src/upstream/instances/spec.ts";
import { failureOf } from "../../support/failure.ts";
import { stillClock } from "../../support/principal.ts";

const spec: Spec = { key: "k", era: "legacy", declares: "{}", asks: false, owner: "key:a", session: null };

function poolOf(start: () => Promise<never>) {
  const ended = Promise.withResolvers<void>();
  const pool = new Pool({
    server: "crm",
    clock: stillClock(),
    breaker: defaultBreaker,
    places: () => ({ maxInstances: 4, idleStop: 60_000 }),
    start,
    ended: () => ended.resolve(),
    isSubscribed: () => false,
    crashed: () => {},
  });
  return { pool, ended: ended.promise };
}

test("T42: no instance is started for a caller whose key was revoked", () => {
  const { pool } = poolOf(() => new Promise(() => {}));
  const opening = (): unknown => pool.open({ spec, until: AbortSignal.abort() });
  expect(failureOf(opening).code).toBe("cancelled");
  expect(pool.size).toBe(0);
});

test("an instance that was asked to end has not failed, and the next one of its key is a different one", async () => {
  let starts = 0;
  const { pool, ended } = poolOf(() =>
    ++starts === 1 ? Promise.reject(new Error("too late")) : new Promise(() => {}),
  );
  const first = pool.open({ spec, until: null });
  void pool.stop(first);
  const second = pool.open({ spec, until: null });
  await ended;
  expect([pool.crashes, pool.wait(spec.key), pool.find(spec.key) === second]).toEqual([0, 0, true]);
});
