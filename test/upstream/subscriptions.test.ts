import { expect, test } from "bun:test";
import { usual } from "../../src/gateway/listeners.ts";
import { mostSubscriptions } from "../../src/upstream/subscriptions.ts";
import { fake, resourceRoute, callTo, upstreams } from "../support/upstream.ts";
import { until } from "../support/until.ts";

test("no principal may have more than a quarter of the subscriptions of a server", () => {
  expect(usual.uris * 4).toBeLessThanOrEqual(mostSubscriptions);
});

test.each(["legacy", "modern"] as const)("a %s subscription does not hold the request that made it", async (era) => {
  await using set = upstreams([fake("a", era === "modern" ? ["--era", "modern"] : [])]);
  await set.settled();
  const held: WeakRef<object>[] = [];
  const subscribe = async (uri: string): Promise<() => void> => {
    const call = callTo("x", {}, { era });
    held.push(new WeakRef(call));
    return set.subscribe(call, resourceRoute("a", uri), () => {});
  };
  const ends: (() => void)[] = [];
  for (let i = 0; i < 20; i++) ends.push(await subscribe(`test://${i}`));
  await until(() => {
    Bun.gc(true);
    // The stack may still hold the last ones.
    return held.filter((one) => one.deref() !== undefined).length < 5;
  }, "the requests to go");
  expect(set.status()[0]?.subscriptions).toBe(20);
  for (const end of ends) end();
  await until(() => set.status()[0]?.subscriptions === 0, "their end");
});

test("a subscription that a reload hands on waits until it is known what the new server speaks", async () => {
  const options = fake("a", ["--era", "modern"], { protocol: "auto" });
  const old = upstreams([options]);
  await old.settled();
  const missed = Promise.withResolvers<string | null>();
  await old.follow("a", "test://1", missed.resolve);
  await using next = upstreams([{ ...options, env: { CHANGED: "1" } }], { previous: old });
  await next.drainPrevious(0);
  expect(await missed.promise).toBeNull();
  expect(next.events.map(({ type }) => type)).not.toContain("server.crashed");
});
