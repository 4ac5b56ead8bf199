import { expect, test } from "bun:test";
import { join } from "node:path";
import { silent } from "../../src/core/log.ts";
import { systemClock } from "../../src/core/clock.ts";
import { createUpstreams, type ManagedUpstreams } from "../../src/upstream/upstreams.ts";
import { serve } from "../support/mcp-server.ts";
import { fake, http, memoryLists, quick } from "../support/upstream.ts";
import { until } from "../support/until.ts";

test("a set that was taken over from is forgotten, however many follow", async () => {
  using server = serve(() => null);
  const servers = [http("a", server.url), fake("b")];
  const main = join(import.meta.dir, "../fixtures/upstream-main.ts");
  const next = (previous: ManagedUpstreams | null): ManagedUpstreams =>
    createUpstreams({
      servers,
      local: [],
      limits: { result: 1_000_000, depth: 64, nodes: 10_000 },
      clock: systemClock,
      log: silent,
      lists: memoryLists(),
      self: {
        command: (...args) => [process.execPath, main, ...args],
        housekeeper: new URL(import.meta.url),
        version: "0",
      },
      run: `test-${crypto.randomUUID()}`,
      client: { name: "mcpgw", version: "0" },
      refuses: () => null,
      record: () => {},
      secrets: () => [],
      asked: () => Promise.reject(new Error("nobody is there")),
      previous,
      tuning: quick,
    });
  let set = next(null);
  set.activate();
  await set.settled();
  const sets: WeakRef<ManagedUpstreams>[] = [];
  for (let i = 0; i < 10; i++) {
    sets.push(new WeakRef(set));
    set = next(set);
    set.activate();
    await set.settled();
    await set.drainPrevious(0);
  }
  // The collector may take a word on its stack for a reference, so that the one or other stays for a while.
  await until(() => {
    Bun.gc(true);
    return sets.filter((one) => one.deref()).length <= 2;
  }, "the earlier sets to be collected");
  expect(set.status().map(({ state }) => state)).toEqual(["ready", "ready"]);
  await set.close(0);
});
