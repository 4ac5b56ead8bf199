import { describe, expect, test } from "bun:test";
import { Failure } from "../../src/core/failure.ts";
import type { Gateway } from "../../src/gateway/gateway.ts";
import { handle } from "../../src/gateway/handle.ts";
import { listenLimits } from "../../src/gateway/listeners.ts";
import { policyOf } from "../support/policy.ts";
import { principal } from "../support/principal.ts";
import { use } from "../support/turns.ts";
import { until } from "../support/until.ts";
import { pick } from "../support/wire.ts";
import { Client, everything, servers } from "./listener.ts";
import { alice, type Asking, bob, harness, type Harness, request, types } from "./support.ts";

describe("subscriptions/listen", () => {
  test("first acknowledges what is granted, then sends only that, always with the request id as written", async () => {
    for (const id of ["7", '"7"', "9007199254740993", '"\\u00e9"']) {
      const h = harness({ servers });
      await using client = await new Client(
        h,
        { ...everything, promptsListChanged: false, futureListChanged: true },
        { id },
      ).acknowledged();
      expect(client.said[0]).toContain(`"io.modelcontextprotocol/subscriptionId":${id}`);
      expect(client.granted).toEqual({
        toolsListChanged: true,
        resourcesListChanged: true,
        resourceSubscriptions: ["file:///a", "mcpgw+crm:twin:b", "erp:c"],
      });
      h.notifier.changed("tools");
      h.subscribed.get("key:alice twin:b")?.(null);
      expect(client.methods).toEqual([
        "notifications/subscriptions/acknowledged",
        "notifications/tools/list_changed",
        "notifications/resources/updated",
      ]);
      expect(client.messages[2]?.params.uri).toBe("mcpgw+crm:twin:b");
      for (const text of client.said) expect(text).toContain(`"io.modelcontextprotocol/subscriptionId":${id}`);
    }
  });

  test("only the acknowledgement and changed lists are sent even to a slow client", async () => {
    const h = harness({ servers });
    const said: [method: string, must: boolean | undefined][] = [];
    const emit = (text: string, must?: boolean): void =>
      void said.push([String(pick(JSON.parse(text), "method")), must]);
    await using _client = new Client(h, everything, { emit });
    await until(() => said.length > 0, "an acknowledgement");
    h.notifier.changed("tools");
    h.subscribed.get("key:alice file:///a")?.(null);
    expect(said).toEqual([
      ["notifications/subscriptions/acknowledged", true],
      ["notifications/tools/list_changed", true],
      ["notifications/resources/updated", false],
    ]);
  });

  test("a change before the acknowledgement is reported after it, once", async () => {
    const h = harness({ servers });
    const grant = grantLater(h);
    await using client = new Client(h, everything);
    await until(() => h.subscribed.size === 3, "it is being subscribed");
    h.subscribed.get("key:alice file:///a")?.(null);
    h.subscribed.get("key:alice file:///a")?.(null);
    h.notifier.changed("tools");
    expect(client.said).toEqual([]);
    grant();
    await client.acknowledged();
    expect(client.methods).toEqual([
      "notifications/subscriptions/acknowledged",
      "notifications/resources/updated",
      "notifications/tools/list_changed",
    ]);
  });

  test.each([
    ["loses its key", "rights-lost", (client: Client) => (client.call.who as ReturnType<typeof principal>).revoke()],
    ["leaves", "cancelled", (client: Client) => client.controller.abort()],
  ] as const)(
    "T42: a client that %s before everything is granted gets no notification of earlier changes",
    async (_how, code, end) => {
      const h = harness({ servers });
      const grant = grantLater(h);
      const client = new Client(h, everything, { who: principal("key:alice", ["reader"]) });
      await until(() => h.subscribed.size === 3, "it is being subscribed");
      h.subscribed.get("key:alice file:///a")?.(null);
      end(client);
      // In this turn, nothing awaits the end of the stream yet.
      await new Promise(setImmediate);
      grant();
      await client.ended;
      expect([client.said, client.call.failure?.code]).toEqual([[], code]);
    },
  );

  test("S16: takes a token for itself and one for each resource; a resource without a token is not granted", async () => {
    const h = harness({ servers });
    const taken: (string | null)[] = [];
    const limitedTo = (most: number): Harness => {
      const take: Harness["gw"]["limits"]["take"] = (_who, route) => {
        if (taken.length >= most) throw new Failure("rate-limited", "Enough.");
        taken.push(route?.canonical ?? null);
      };
      const gw: Harness["gw"] = { ...h.gw, inForce: () => gw, limits: { ...h.gw.limits, take } };
      return { ...h, gw };
    };
    await using client = await new Client(limitedTo(3), everything).acknowledged();
    expect(client.granted).toMatchObject({ resourceSubscriptions: ["file:///a", "mcpgw+crm:twin:b"] });
    expect(taken).toEqual([null, "crm:file:///a", "crm:twin:b"]);
    const refused = new Client(limitedTo(3), everything);
    await refused.ended;
    expect([refused.call.failure?.code, h.subscribed.size, h.gw.listeners.size]).toEqual(["rate-limited", 2, 1]);
  });

  test("listens even if nothing is requested", async () => {
    const h = harness({ servers });
    await using client = await new Client(h, {}).acknowledged();
    expect(client.granted).toEqual({});
    expect(h.gw.listeners.size).toBe(1);
  });

  test("skips resources that are unknown, out of scope, forbidden, or refused by their server", async () => {
    const rules = {
      reader: [
        { resource: "file:*", action: "allow" },
        { resource: "erp:*", action: "allow" },
      ],
    };
    const h = harness({ servers, rules });
    const uris = ["file:///a", "mcpgw+crm:twin:b", "erp:c", "nowhere:d", "file:///unavailable"];
    await using client = await new Client(h, { resourceSubscriptions: uris }, { scope: "crm" }).acknowledged();
    expect(client.granted).toEqual({ resourceSubscriptions: ["file:///a"] });
  });

  const bad: unknown[] = [
    undefined,
    null,
    [],
    7,
    { resourceSubscriptions: "file:///a" },
    { resourceSubscriptions: [7] },
    { taskIds: {} },
  ];
  test.each(bad.map((filter) => [filter]))("refuses a filter %p", async (filter) => {
    const h = harness({ servers });
    const client = new Client(h, filter);
    await client.ended;
    expect(client.call.failure?.code).toBe("invalid-params");
    expect(client.said).toEqual([]);
  });

  test("needs a stream", async () => {
    const h = harness({ servers });
    const call = request(h.gw, "subscriptions/listen", { notifications: {} });
    await handle(h.gw, call);
    expect(call.failure?.code).toBe("invalid-request");
  });

  test("is recorded once, before any notification, and is not granted if it cannot be recorded", async () => {
    const h = harness({ servers });
    const client = await new Client(h, everything).acknowledged();
    expect(types(h.records)).toEqual(["call.end"]);
    // The record names no single resource.
    expect([h.records[0]?.call.target, h.records[0]?.call.verdict]).toEqual([null, null]);
    expect(h.records[0]?.facts).toEqual({
      opens: "subscription",
      lists: "tools prompts resources",
      resources: 3,
      tasks: 0,
    });
    client.controller.abort();
    await client.ended;
    expect(types(h.records)).toEqual(["call.end"]);
    h.failing.on = "call.end";
    const other = new Client(h, everything);
    await other.ended;
    expect(other.call.failure?.code).toBe("audit-unavailable");
    expect([other.said.length, h.subscribed.size, h.gw.listeners.size]).toEqual([0, 0, 0]);
  });

  test("is only recorded as refused if there is no place for it", async () => {
    const h = harness({ servers });
    const join = (): never => {
      throw new Failure("overloaded", "All places are taken.");
    };
    h.inForce.notifier = { ...h.notifier, join };
    const client = new Client(h, everything);
    await client.ended;
    expect(types(h.records)).toEqual(["call.refused"]);
    expect([client.said.length, h.subscribed.size, h.gw.listeners.size]).toEqual([0, 0, 0]);
  });
});

describe("a stream ends", () => {
  test.each([
    ["its client leaves", (client: Client) => client.controller.abort(), "cancelled"],
    [
      "its key is revoked",
      (client: Client) => (client.call.who as ReturnType<typeof principal>).revoke(),
      "rights-lost",
    ],
  ])("when %s, without a result", async (_why, end, code) => {
    const h = harness({ servers });
    const client = await new Client(h, everything, { who: principal("key:carol", ["reader"]) }).acknowledged();
    end(client);
    await client.ended;
    expect(client.call.failure?.code).toBe(code as never);
    expect(types(h.records)).toEqual(["call.end"]);
    expect([h.subscribed.size, h.notifier.size, h.gw.listeners.size, h.gw.listeners.uris]).toEqual([0, 0, 0, 0]);
    const before = client.said.length;
    h.notifier.changed("tools");
    expect(client.said).toHaveLength(before);
  });

  test("with a result when the gateway stops or no longer serves a subject", async () => {
    const inForce = ({ gw }: Harness, ids: readonly string[], scoped = false) =>
      gw.listeners.endUnserved({
        serves: new Set(ids),
        keeps: new Set(),
        hasScope: () => scoped,
      });
    const ends: [end: (h: Harness) => void, asking: Asking, ends: boolean][] = [
      [({ gw }) => gw.listeners.endAll(), {}, true],
      [(h) => inForce(h, ["crm"]), {}, true],
      [(h) => inForce(h, ["crm", "erp"]), { scope: "crm" }, true],
      [(h) => inForce(h, ["crm", "erp"]), {}, false],
      [(h) => inForce(h, ["crm"], true), { scope: "crm" }, false],
    ];
    for (const [end, asking, ended] of ends) {
      const h = harness({ servers });
      const client = await new Client(h, everything, { id: '"L"', ...asking }).acknowledged();
      end(h);
      if (!ended) {
        client.controller.abort();
        await client.ended;
        expect(client.call.failure?.code).toBe("cancelled");
        continue;
      }
      await client.ended;
      expect(client.answer()).toEqual({
        jsonrpc: "2.0",
        id: "L",
        result: {
          resultType: "complete",
          _meta: {
            "io.modelcontextprotocol/subscriptionId": "L",
            "io.modelcontextprotocol/serverInfo": { name: "mcpgw", version: "9" },
          },
        },
      });
    }
  });
});

describe("limits", () => {
  test("T20: apply to streams and resources, per principal and in total", async () => {
    const h = harness({ servers });
    const { listeners } = h.gw;
    const { total, perOwner, uris, characters } = listenLimits;
    const other = { scope: null, servers: new Set<string>(), tasks: false, end() {} };
    for (let n = 3; n < total; n++) listeners.open({ ...other, owner: n <= perOwner ? alice.id : `key:${n}` });
    listeners.take(alice.id, uris - 3, characters - 2_000);
    const open: Client[] = [];
    const listen = async (notifications: object, who = alice): Promise<string | undefined> => {
      const client = await new Client(h, notifications, { who }).acknowledged();
      if (client.call.failure) return client.call.failure.message;
      open.push(client);
      return undefined;
    };
    expect(await listen(everything)).toBeUndefined();
    expect(await listen({ resourceSubscriptions: ["file:///a"] })).toContain("no more than 1000 resources");
    expect(await listen({ _meta: "x".repeat(2_000) })).toContain(`more than ${characters} characters`);
    expect(await listen({})).toBeUndefined();
    expect(await listen({})).toContain("64 open listeners");
    expect(await listen(everything, bob)).toBeUndefined();
    expect(await listen({}, bob)).toContain("All 10000 places");
    expect([listeners.size, listeners.uris]).toEqual([total, uris + 3]);
    for (const client of open) client.controller.abort();
    await Promise.all(open.map(({ ended }) => ended));
    expect([listeners.size, listeners.uris, h.notifier.size]).toEqual([total - 3, uris - 3, 0]);
    expect(await listen(everything)).toBeUndefined();
    expect(await listen({})).toBeUndefined();
    for (const client of open) client.controller.abort();
  });
});

test.each(["resourceSubscriptions", "taskIds"])(
  "T20: a filter that names more than 1,000 %s is refused",
  async (name) => {
    const client = new Client(harness({ servers }), { [name]: Array(1_001).fill("file:///a") });
    await client.ended;
    expect(client.call.failure?.message).toContain("names more than 1000");
  },
);

/** Makes servers grant subscriptions only after the returned function was called. */
function grantLater({ gw }: Harness): () => void {
  const gate = Promise.withResolvers<void>();
  const { subscribe } = gw.upstreams;
  gw.upstreams.subscribe = async (...args: Parameters<typeof subscribe>) => {
    const end = await subscribe(...args);
    await gate.promise;
    return end;
  };
  return gate.resolve;
}

test("T20: a request for many resources does not block other work, and follows a reload in the meantime", async () => {
  const h = harness({ servers });
  const { resolve } = h.gw.catalog;
  const slow: typeof resolve = (...of) => (use(3), resolve(...of));
  const inForce = (): Gateway => now;
  const before: Gateway = { ...h.gw, inForce, catalog: { ...h.gw.catalog, resolve: slow } };
  const after: Gateway = { ...h.gw, inForce, policy: policyOf([]) };
  let now = before;
  const uris = Array.from({ length: 40 }, (_, n) => `nowhere:${n}`);
  let turns = 0;
  const count = setInterval(() => turns++, 0);
  await using client = new Client(
    { ...h, gw: before as Harness["gw"] },
    { resourceSubscriptions: [...uris, "file:///a"] },
  );
  await until(() => turns >= 5, "others to get their turn");
  expect(client.said).toEqual([]);
  now = after;
  await client.acknowledged();
  clearInterval(count);
  expect(client.granted).toEqual({});
});

test("T20: a request for many unknown resources does not block other work", async () => {
  const h = harness({ servers });
  let looked = 0;
  const offers = (): boolean => (use(3), ++looked > 0);
  const uris = Array.from({ length: 40 }, (_, n) => `nowhere:${n}`);
  const seen: number[] = [];
  const others = setInterval(() => seen.push(looked), 0);
  const gw = { ...h.gw, catalog: { ...h.gw.catalog, offers } };
  await using client = new Client({ ...h, gw }, { resourceSubscriptions: uris });
  await client.acknowledged();
  clearInterval(others);
  expect(seen.filter((some) => some > 0 && some < uris.length).length).toBeGreaterThan(3);
});

test("a resource that a reload forbids while the request is checked is not granted", async () => {
  const h = harness({ servers });
  const inForce = (): Gateway => now;
  const after: Gateway = { ...h.gw, inForce, policy: policyOf([]) };
  const { offers } = h.gw.catalog;
  const reloading: typeof offers = (...of) => ((now = after), offers(...of));
  const before: Gateway = { ...h.gw, inForce, catalog: { ...h.gw.catalog, offers: reloading } };
  let now = before;
  await using client = new Client({ ...h, gw: before as Harness["gw"] }, { resourceSubscriptions: ["file:///a"] });
  expect((await client.acknowledged()).granted).toEqual({});
});

test("listening is refused if a reload removes the endpoint in the meantime", async () => {
  const h = harness({ servers });
  const offers = () => {
    h.inForce.catalog = { ...h.gw.catalog, hasScope: () => false };
    return true;
  };
  const gw = { ...h.gw, catalog: { ...h.gw.catalog, offers } };
  const client = new Client({ ...h, gw }, everything, { scope: "crm" });
  await client.ended;
  expect([client.call.failure?.code, client.said, h.gw.listeners.size]).toEqual(["session-not-found", [], 0]);
});

test("a client waits for servers before a requested resource counts as unknown", async () => {
  const h = harness({ servers });
  const settled = Promise.withResolvers<void>();
  let known = false;
  const { offers } = h.gw.catalog;
  const catalog = {
    ...h.gw.catalog,
    offers: (...asked: Parameters<typeof offers>) => (known || asked[1] === "erp:c") && offers(...asked),
  };
  const gw = { ...h.gw, settled: settled.promise, catalog };
  const waits = new Client({ ...h, gw }, { resourceSubscriptions: ["erp:c", "file:///a"] });
  const needs = await new Client({ ...h, gw }, { resourceSubscriptions: ["erp:c"] }).acknowledged();
  expect(waits.said).toEqual([]);
  known = true;
  settled.resolve();
  await waits.acknowledged();
  expect(waits.granted).toEqual({ resourceSubscriptions: ["erp:c", "file:///a"] });
  for (const client of [waits, needs]) client.controller.abort();
  await Promise.all([waits.ended, needs.ended]);
});
