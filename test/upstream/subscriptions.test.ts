import { expect, test } from "bun:test";
import { systemClock } from "../../src/core/clock.ts";
import { maxNameLength } from "../../src/core/name.ts";
import { listenLimits } from "../../src/gateway/listeners.ts";
import type { Slot } from "../../src/upstream/instances/pool.ts";
import { maxSubscriptions, Subscriptions } from "../../src/upstream/subscriptions.ts";
import { rejectionOf } from "../support/failure.ts";
import { discovers, listening, refusal, reply, serve, serveSessions } from "../support/mcp-server.ts";
import { callTo, fake, http, listed, resourceRoute, upstreams } from "../support/upstream.ts";
import { until } from "../support/until.ts";

test("the number of subscribed resources at one server is limited; callers may still join existing subscriptions", async () => {
  const unlearnt = new Promise<void>(() => {});
  const subscriptions = new Subscriptions({
    server: "a",
    clock: systemClock,
    timeout: () => Infinity,
    learn: () => unlearnt,
    need: () => slot,
    open: () => slot,
    wait: () => 0,
  });
  const add = (at: number) => subscriptions.add(callTo("x", {}), slot, `test://${at}`, () => {});
  const slot = { spec: { key: "k" } } as Slot;
  for (let at = 0; at < maxSubscriptions; at++) void add(at);
  const joined = add(0);
  expect((await rejectionOf(add(maxSubscriptions))).code).toBe("overloaded");
  expect([subscriptions.size, Bun.peek.status(joined)]).toEqual([maxSubscriptions, "pending"]);
});

test("a server that refuses a subscription and asks to wait is quoted", async () => {
  using server = serve(({ method, id }) =>
    method === "resources/subscribe" ? refusal(id, -32000, "too many subscriptions", 429) : null,
  );
  await using set = await listed([http("a", server.url)]);
  const refused = await rejectionOf(set.follow("a", "test://1", () => {}));
  expect(refused.detail.refusal).toBe('{"code":-32000,"message":"too many subscriptions"}');
});

test("a subscription that is granted after its caller has gone is ended", async () => {
  const asked = Promise.withResolvers<void>();
  const grant = Promise.withResolvers<void>();
  using server = serve(async ({ method, id }) => {
    if (method !== "resources/subscribe") return null;
    asked.resolve();
    await grant.promise;
    return reply(id, {});
  });
  await using set = await listed([http("a", server.url)]);
  const controller = new AbortController();
  const call = callTo("x", {}, { controller });
  const given = rejectionOf(set.subscribe(call, resourceRoute("a", "test://1"), () => {}));
  await asked.promise;
  controller.abort();
  grant.resolve();
  expect((await given).code).toBe("cancelled");
  await until(() => server.of("resources/unsubscribe").length === 1, "its end");
  expect(set.status()[0]?.subscriptions).toBe(0);
});

test("a server may grant the maximum number of URIs of the maximum length", async () => {
  using server = serve(({ method, id, params }) => {
    if (method === "server/discover") return discovers(id);
    return method === "subscriptions/listen" ? listening(id, params?.["notifications"]) : null;
  });
  await using set = await listed([http("a", server.url, { protocol: "modern" })]);
  const uris = Array.from({ length: 150 }, (_, at) => `test://${at}/`.padEnd(maxNameLength, "x"));
  const subscribed = uris.map((uri) => set.subscribe(callTo("x", {}), resourceRoute("a", uri), () => {}));
  expect((await Promise.all(subscribed)).length).toBe(150);
});

test("a caller waits for a subscription no longer than for a call, and stops when it gives up", async () => {
  const grant = Promise.withResolvers<void>();
  using server = serve(async ({ method, id, params }) => {
    if (method !== "resources/subscribe") return null;
    if (params?.["uri"] === "test://hangs") await grant.promise;
    return reply(id, {});
  });
  await using set = await listed([http("a", server.url, { timeout: "1s" })]);
  const controller = new AbortController();
  const given = [controller, new AbortController()].map((one) =>
    rejectionOf(set.subscribe(callTo("x", {}, { controller: one }), resourceRoute("a", "test://hangs"), () => {})),
  );
  await until(() => server.of("resources/subscribe").length === 1, "it hangs");
  controller.abort();
  expect((await given[0])?.code).toBe("cancelled");
  expect((await given[1])?.code).toBe("timeout");
  expect(set.status()[0]?.subscriptions).toBe(0);
  // The next one does not wait for it either.
  await set.follow("a", "test://1", () => {});
  grant.resolve();
});

test("a resource that is subscribed to again after its end is requested again; others are left alone", async () => {
  using server = serve(({ method, id }) => (method?.startsWith("resources/") ? reply(id, {}) : null));
  await using set = await listed([http("a", server.url)]);
  const end = await set.follow("a", "test://1", () => {});
  await set.follow("a", "test://2", () => {});
  end();
  await until(() => server.of("resources/unsubscribe").length === 1, "the end of the first");
  await set.follow("a", "test://1", () => {});
  const uris = (method: string): unknown[] => server.of(method).map(({ message }) => message.params?.["uri"]);
  expect(uris("resources/subscribe")).toEqual(["test://1", "test://2", "test://1"]);
  expect(uris("resources/unsubscribe")).toEqual(["test://1"]);
});

test("a caller that waits for a subscription is notified when its session ends", async () => {
  const asked = Promise.withResolvers<void>();
  using server = serve(({ method }) => {
    if (method !== "resources/subscribe") return null;
    asked.resolve();
    return new Promise(() => {});
  });
  await using set = await listed([http("a", server.url)]);
  const call = callTo("x", {}, { session: "s", declares: { roots: {} } });
  const given = rejectionOf(set.subscribe(call, resourceRoute("a", "test://1"), () => {}));
  await asked.promise;
  set.endSession("s");
  expect(await given).toMatchObject({ code: "upstream-down", message: expect.stringContaining("it was stopped") });
});

test("one principal may have at most a quarter of the subscriptions of a server", () => {
  expect(listenLimits.uris * 4).toBeLessThanOrEqual(maxSubscriptions);
});

test.each(["legacy", "modern"] as const)(
  "a %s subscription does not keep the request that made it in memory",
  async (era) => {
    await using set = await listed([fake("a", era === "modern" ? ["--era", "modern"] : [])]);
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
      // The stack may still reference the last ones.
      return held.filter((one) => one.deref() !== undefined).length < 5;
    }, "the requests to go");
    expect(set.status()[0]?.subscriptions).toBe(20);
    for (const end of ends) end();
    await until(() => set.status()[0]?.subscriptions === 0, "their end");
  },
);

const announce = (set: ReturnType<typeof upstreams>, uri: string, era: "legacy" | "modern") =>
  set.ask("a", "announce", { method: "notifications/resources/updated", params: { uri } }, { era });

test("S23: a client is notified once of a change, however many resources above it the client is subscribed to", async () => {
  await using set = await listed([fake("a", ["--rich"])]);
  const told: string[] = [];
  const [one, other] = [new AbortController(), new AbortController()];
  const subscribe = (controller: AbortController, uri: string, as: string) =>
    set.subscribe(callTo("x", {}, { controller }), resourceRoute("a", uri), () => told.push(as));
  for (const uri of ["test://1", "test://1/2", "test://1/2/3"]) await subscribe(one, uri, `one by ${uri}`);
  // The same resource under two names.
  for (const name of ["plain", "explicit"]) await subscribe(other, "test://1", name);
  for (const uri of ["test://1/2/3/4", "test://1/2", "test://1"]) {
    told.push(uri);
    await announce(set, uri, "legacy");
  }
  await until(() => told.length === 10, "the updates");
  expect(told.slice(0, 3)).toEqual(["test://1/2/3/4", "one by test://1/2/3", "plain"]);
  expect(told.slice(3, 6)).toEqual(["test://1/2", "one by test://1/2", "plain"]);
  expect(told.slice(6)).toEqual(["test://1", "one by test://1", "plain", "explicit"]);
});

test("a subscription handed on by a reload waits until the new server's eras are known", async () => {
  const options = fake("a", ["--era", "modern"], { protocol: "auto" });
  const old = await listed([options]);
  const missed = Promise.withResolvers<string | null>();
  await old.follow("a", "test://1", missed.resolve);
  await using next = upstreams([{ ...options, env: { CHANGED: "1" } }], { previous: old });
  await next.drainPrevious(0);
  expect(await missed.promise).toBeNull();
  expect(next.events.map(({ type }) => type)).not.toContain("server.crashed");
});

test("a subscription whose instance is still starting when a reload changes its server is granted by the new server", async () => {
  const starts = Promise.withResolvers<void>();
  using server = serveSessions(async ({ method, id }) => {
    if (method === "initialize" && server.of(method).length === 2) await starts.promise;
    return method === "resources/subscribe" ? reply(id, {}) : null;
  });
  const options = http("a", server.url, { getStream: "off" });
  const old = await listed([options]);
  const followed = old.follow("a", "test://1", () => {});
  await until(() => server.of("initialize").length === 2, "the start");
  await using next = upstreams([{ ...options, headers: { "x-changed": "1" } }], { previous: old });
  const drained = next.drainPrevious(60_000);
  await next.settled();
  starts.resolve();
  await followed;
  await drained;
  const [subscribed] = server.of("resources/subscribe");
  expect(subscribed?.headers.get("x-changed")).toBe("1");
  expect(next.status()[0]?.subscriptions).toBe(1);
});

test("a subscription whose session ends at any moment leaves no instance behind", async () => {
  await using set = await listed([fake("a")]);
  for (let moment = 0; moment < 16; moment++) {
    const controller = new AbortController();
    const call = (): ReturnType<typeof callTo> =>
      callTo("x", {}, { session: `s${moment}`, declares: { roots: {} }, controller });
    await set.subscribe(call(), resourceRoute("a", "test://1"), () => {});
    const given = rejectionOf(set.subscribe(call(), resourceRoute("a", "test://2"), () => {}));
    for (let i = 0; i < moment; i++) await Promise.resolve();
    controller.abort();
    set.endSession(`s${moment}`);
    await given;
  }
  await until(() => set.status()[0]?.instances === 0, "their end", 3_000);
  expect(set.status()[0]?.subscriptions).toBe(0);
}, 30_000);
