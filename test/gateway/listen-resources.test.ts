import { expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import { until } from "../support/until.ts";
import { writtenLog } from "../support/written-log.ts";
import { Client, everything, servers } from "./listener.ts";
import { allowsNothing, harness, type Harness, types } from "./support.ts";

// What a client that listens is told of resources: by the configuration in force, not by the one it began with.

test("a resource below the one that is subscribed to is told of under its own URI", async () => {
  const h = harness({ servers });
  await using client = await new Client(h, everything).acknowledged();
  h.subscribed.get("key:alice file:///a")?.('{"uri":"file:///a/b"}');
  expect(client.said.at(-1)).toContain('"uri":"file:///a/b"');
});

test("why a server grants nothing is in the log, also where nobody foresaw it", async () => {
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

test("a resource that rules hide by now is told of no more", async () => {
  const h = harness({ servers });
  await using client = await new Client(h, everything).acknowledged();
  h.inForce.policy = allowsNothing;
  h.subscribed.get("key:alice file:///a")?.(null);
  expect(client.methods).toEqual(["notifications/subscriptions/acknowledged"]);
});

test("a resource is told of only where the rules on its own URI allow it", async () => {
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

test("S32: what is told of is what the endpoint in force contains", async () => {
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

test("what is granted after a wait for the servers is decided by the policy in force by then", async () => {
  const h = harness({ servers });
  const settled = Promise.withResolvers<void>();
  const gw = { ...h.gw, settled: settled.promise, catalog: { ...h.gw.catalog, offers: () => false } };
  await using client = new Client({ ...h, gw }, { resourceSubscriptions: ["file:///a"] });
  h.inForce.policy = allowsNothing;
  settled.resolve();
  await client.acknowledged();
  expect([client.granted, h.subscribed.size]).toEqual([{}, 0]);
});

test("nothing is recorded as granted to a client that leaves while the servers start", async () => {
  const h = harness({ servers });
  const settled = Promise.withResolvers<void>();
  const gw = { ...h.gw, settled: settled.promise, catalog: { ...h.gw.catalog, offers: () => false } };
  await using client = new Client({ ...h, gw }, { resourceSubscriptions: ["file:///a"] });
  client.controller.abort();
  await client.ended;
  expect(client.call.failure?.code).toBe("cancelled");
  expect([types(h.records), h.subscribed.size, h.gw.listeners.size]).toEqual([["call.refused"], 0, 0]);
});

test("a resource is subscribed to at the servers in force, though a reload replaced them while that was recorded", async () => {
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

test("short updates count too while another resource is not granted yet: too many end the listening", async () => {
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
