import { expect, test } from "bun:test";
import { Busy } from "../../src/core/busy.ts";

test("idle() resolves when the last activity ends, or at its time limit", async () => {
  const busy = new Busy();
  await busy.idle(60_000);
  busy.enter();
  busy.enter();
  const seen: string[] = [];
  const waits = [busy.idle(60_000), busy.idle(60_000)].map((wait) => wait.then(() => seen.push("idle")));
  busy.leave();
  await busy.idle(1);
  expect(seen).toEqual([]);
  busy.leave();
  await Promise.all(waits);
  expect(seen).toEqual(["idle", "idle"]);
  busy.enter();
  await busy.idle(1);
  expect(seen).toEqual(["idle", "idle"]);
});
