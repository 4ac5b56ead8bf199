import { expect, test } from "bun:test";
import { Eras } from "../../../src/upstream/instances/eras.ts";
import { http } from "../../support/upstream.ts";

test("whether a modern server speaks legacy too is asked once by all who need it, and again once that is in doubt", async () => {
  const eras = new Eras(http("a", "http://127.0.0.1/"));
  let asked = 0;
  const learn = (legacy: boolean) => eras.learnLegacy(() => (asked++, Promise.resolve(legacy)));
  for (const [legacy, times] of [
    [true, 1],
    [false, 2],
  ] as const) {
    eras.met({ modern: true, legacy: null, sse: false });
    await Promise.all([learn(legacy), learn(legacy)]);
    expect([eras.spoken.legacy, asked, learn(legacy)]).toEqual([legacy, times, null]);
  }
});

test("what is found out about a server that was met anew meanwhile does not count", async () => {
  const eras = new Eras(http("a", "http://127.0.0.1/"));
  eras.met({ modern: true, legacy: null, sse: false });
  const found = Promise.withResolvers<boolean>();
  const learning = eras.learnLegacy(() => found.promise);
  eras.met({ modern: true, legacy: false, sse: false });
  found.resolve(true);
  await learning;
  expect(eras.spoken.legacy).toBe(false);
});
