import { expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { until } from "../support/until.ts";
import { writtenLog } from "../support/written-log.ts";
import { Client, everything, servers } from "./listener.ts";
import { allowsNothing, harness, type Harness, types } from "./support.ts";

// Notifications about resources follow the current configuration, and not that of the time when listening began.

test("an update of a resource below the subscribed one carries its own URI", async () => {
  const h = harness({ servers });
  await using client = await new Client(h, everything).acknowledged();
  h.subscribed.get("key:alice file:///a")?.('{"uri":"file:///a/b"}');
  expect(client.said.at(-1)).toContain('"uri":"file:///a/b"');
});

test("the reason why a server grants nothing is logged, even for an unexpected error", async () => {
  const h = harness({ servers });
  const { lines, log } = writtenLog();
  const subscribe = (): never => {
    throw new Error("the subscribing failed");
  };
  Object.assign(h.gw, { log, upstreams: { ...h.gw.upstreams, subscribe } });
  await using client = await new Client(h, { resourceSubscriptions: ["file:///a"] }).acknowledged();
  expect(client.granted).toEqual({});
  expect(lines.join()).toInclude("the subscribing failed");
});

test("a resource that rules now hide is no longer reported", async () => {
  const h = harness({ servers });
  await using client = await new Client(h, everything).acknowledged();
  h.inForce.policy = allowsNothing;
  h.subscribed.get("key:alice file:///a")?.(null);
  expect(client.methods).toEqual(["notifications/subscriptions/acknowledged"]);
});

test("an update is sent only if the rules for its own URI allow it", async () => {
  const rules = {
    reader: [
      { resource: "*", when: { "args.uri": { glob: "file:///a/open/*" } }, action: "deny" },
      { action: "allow" },
    ],
  };
  const h = harness({ servers, rules });
  await using client = await new Client(h, everything).acknowledged();
  for (const uri of ["file:///a/open/x", "file:///a/b"])
    h.subscribed.get("key:alice file:///a")?.(JSON.stringify({ uri }));
  expect(client.messages.slice(1).map(({ params }) => params.uri)).toEqual(["file:///a/b"]);
});

test("S32: updates are limited to what the endpoint currently contains", async () => {
  const h = harness({ servers });
  const wanted = { toolsListChanged: true, resourceSubscriptions: ["file:///a"] };
  const joined: unknown[] = [];
  const join: Harness["notifier"]["join"] = (listener) => (joined.push(listener.scope), h.notifier.join(listener));
  h.inForce.notifier = { ...h.notifier, join };
  await using client = await new Client(h, wanted, { scope: "crm" }).acknowledged();
  h.inForce.catalog = { ...h.gw.catalog, admits: (_route, scope) => scope === null };
  h.subscribed.get("key:alice file:///a")?.(null);
  expect([client.methods.length, joined]).toEqual([1, ["crm"]]);
});

test("after a wait for servers, the policy that is current then decides what is granted", async () => {
  const h = harness({ servers });
  const settled = Promise.withResolvers<void>();
  const gw = { ...h.gw, settled: settled.promise, catalog: { ...h.gw.catalog, offers: () => false } };
  await using client = new Client({ ...h, gw }, { resourceSubscriptions: ["file:///a"] });
  h.inForce.policy = allowsNothing;
  settled.resolve();
  await client.acknowledged();
  expect([client.granted, h.subscribed.size]).toEqual([{}, 0]);
});

test("nothing is recorded as granted to a client that leaves while servers start", async () => {
  const h = harness({ servers });
  const settled = Promise.withResolvers<void>();
  const gw = { ...h.gw, settled: settled.promise, catalog: { ...h.gw.catalog, offers: () => false } };
  await using client = new Client({ ...h, gw }, { resourceSubscriptions: ["file:///a"] });
  client.controller.abort();
  await client.ended;
  expect(client.call.failure?.code).toBe("cancelled");
  expect([types(h.records), h.subscribed.size, h.gw.listeners.size]).toEqual([["call.refused"], 0, 0]);
});

test("a resource is subscribed at the current servers even if a reload replaced them during the recording", async () => {
  const h = harness({ servers });
  const { upstreams, audit } = h.gw;
  const stopped: typeof upstreams.subscribe = () => Promise.reject(new Failure("upstream-down", "It is stopping."));
  let current = h.gw;
  const once: typeof audit.once = (...of) => {
    current = h.gw;
    return audit.once(...of);
  };
  const before = { upstreams: { ...upstreams, subscribe: stopped }, audit: { ...audit, once } };
  const gw = (current = { ...h.gw, ...before, inForce: () => current });
  const client = await new Client({ ...h, gw }, { resourceSubscriptions: ["file:///a"] }).acknowledged();
  expect(client.granted).toEqual({ resourceSubscriptions: ["file:///a"] });
  client.controller.abort();
  await client.ended;
  expect(h.subscribed.size).toBe(0);
});

test("too many short updates before all resources are granted end the listening", async () => {
  const h = harness({ servers });
  const { subscribe } = h.gw.upstreams;
  const granted = Promise.withResolvers<void>();
  h.gw.upstreams.subscribe = async (...of) => {
    const end = await subscribe(...of);
    await granted.promise;
    return end;
  };
  const client = new Client(h, { resourceSubscriptions: ["file:///a"] });
  await until(() => h.subscribed.size === 1, "it is being subscribed");
  const updated = h.subscribed.get("key:alice file:///a");
  for (let n = 0; n < 3_000; n++) updated?.(JSON.stringify({ uri: `file:///a/${n}` }));
  granted.resolve();
  await client.ended;
  expect(client.said.length).toBeLessThan(3_000);
  expect(client.call.reply?.text).toContain('"resultType":"complete"');
});
