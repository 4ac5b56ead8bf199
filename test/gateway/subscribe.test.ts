import { describe, expect, test } from "bun:test";
import type { Gateway } from "../../src/gateway/gateway.ts";
import { listenLimits } from "../../src/gateway/listeners.ts";
import { until } from "../support/until.ts";
import { alice, allowsNothing, bob, harness, item, type Options, send, session, types } from "./support.ts";

const servers: NonNullable<Options["servers"]> = {
  crm: { resources: [item("file:///a"), item("twin:b")] },
  erp: { resources: [item("twin:b")] },
};

describe("resources/subscribe", () => {
  test("updates reach the session under the wire URI until it unsubscribes", async () => {
    const { gw, subscribed, notifier } = harness({ servers });
    const own = session(alice);
    const asking = { era: "legacy", session: own } as const;
    const uri = "mcpgw+crm:twin:b";
    await send(gw, "resources/subscribe", { uri }, asking);
    await send(gw, "resources/subscribe", { uri }, asking);
    expect([gw.listeners.uris, subscribed.size]).toEqual([1, 1]);
    const told = subscribed.get("key:alice twin:b");
    told?.(null);
    told?.(`{"uri":"twin:b","x":1.0,"_meta":{"com.example/a":1,"io.modelcontextprotocol/subscriptionId":7}}`);
    expect(notifier.told).toEqual([
      `notifications/resources/updated {"uri":"${uri}"}`,
      `notifications/resources/updated {"uri":"${uri}","x":1.0,"_meta":{"com.example/a":1}}`,
    ]);
    await send(gw, "resources/unsubscribe", { uri }, asking);
    expect([gw.listeners.uris, subscribed.size, own.subscribedTo(uri)]).toEqual([0, 0, null]);
  });

  test("holds neither its request nor its gateway in memory, and follows the current catalog", async () => {
    const count = 20;
    const resources = Array.from({ length: count }, (_, i) => item(`file:///${i}`));
    const h = harness({ servers: { crm: { resources } } });
    const own = session(alice);
    const held: WeakRef<object>[] = [];
    for (const { name: uri } of resources) {
      const gw = { ...h.gw };
      const { call } = await send(gw, "resources/subscribe", { uri }, { era: "legacy", session: own });
      held.push(new WeakRef(gw), new WeakRef(call));
    }
    h.records.length = 0;
    await until(() => {
      Bun.gc(true);
      // The stack may still hold the last ones.
      return held.filter((one) => one.deref() !== undefined).length < 5;
    }, "what nobody needs to go");
    const below: Gateway["catalog"]["below"] = (route) => ({ ...route, wire: "in:force" });
    h.inForce.catalog = { ...h.gw.catalog, below };
    h.subscribed.get("key:alice file:///0")?.('{"uri":"file:///0/x"}');
    expect(h.notifier.told).toEqual(['notifications/resources/updated {"uri":"in:force"}']);
    expect(h.subscribed.size).toBe(count);
  });

  test("a URI that a reload gives to another server's resource is subscribed again and recorded", async () => {
    const [before, after] = ["crm", "erp"].map((id) =>
      harness({ servers: { [id]: { resources: [item("file:///a")] } } }),
    );
    const asking = { era: "legacy", session: session(alice) } as const;
    for (const gw of [before!.gw, after!.gw, after!.gw])
      await send(gw, "resources/subscribe", { uri: "file:///a" }, asking);
    expect([before!.subscribed.size, after!.subscribed.size]).toEqual([0, 1]);
    expect(types(after!.records)).toEqual(["call.end"]);
    expect([before!.gw.listeners.uris, after!.gw.listeners.uris]).toEqual([0, 1]);
  });

  test("an already subscribed URI takes no second place, even if a reload gives it to another resource", async () => {
    const [before, after] = ["crm", "erp"].map(
      (id) => harness({ servers: { [id]: { resources: [item("file:///a")] } } }).gw,
    );
    const { listeners } = before!;
    listeners.take(alice.id, listenLimits.uris - 1, 0);
    const asking = { era: "legacy", session: session(alice) } as const;
    for (const gw of [before!, before!, { ...after!, listeners }])
      expect((await send(gw, "resources/subscribe", { uri: "file:///a" }, asking)).call.failure).toBeNull();
    expect(listeners.uris).toBe(listenLimits.uris);
  });

  test("no update is sent about a resource that a reload removed from the endpoint", async () => {
    const h = harness({ servers });
    const own = session(alice);
    const scope = "crm";
    await send(h.gw, "resources/subscribe", { uri: "file:///a" }, { era: "legacy", session: own, scope });
    const admits: Gateway["catalog"]["admits"] = ({ name }, within) => within !== scope || name !== "file:///a";
    h.inForce.catalog = { ...h.gw.catalog, admits };
    h.subscribed.get("key:alice file:///a")?.(null);
    expect(h.notifier.told).toEqual([]);
  });

  test("no update is sent about a resource that may no longer be read", async () => {
    const { gw, inForce, subscribed, notifier } = harness({ servers });
    const own = session(alice);
    await send(gw, "resources/subscribe", { uri: "file:///a" }, { era: "legacy", session: own });
    inForce.policy = allowsNothing;
    subscribed.get("key:alice file:///a")?.(null);
    expect(notifier.told).toEqual([]);
  });

  test("an update of a resource below carries its own URI, if that may be read", async () => {
    const rules = { reader: [{ resource: "*secret*", action: "deny" }, { action: "allow" }] };
    const { gw, subscribed, notifier } = harness({ servers, rules });
    const asking = { era: "legacy", session: session(alice) } as const;
    for (const uri of ["file:///a", "mcpgw+crm:twin:b"]) await send(gw, "resources/subscribe", { uri }, asking);
    for (const name of ["/b", "/secret", "#c"]) subscribed.get("key:alice file:///a")?.(`{"uri":"file:///a${name}"}`);
    subscribed.get("key:alice twin:b")?.('{"uri":"twin:b/c"}');
    expect(notifier.told).toEqual(
      ["file:///a/b", "file:///a#c", "mcpgw+crm:twin:b/c"].map(
        (uri) => `notifications/resources/updated {"uri":"${uri}"}`,
      ),
    );
  });

  test.each(["session", "call"] as const)(
    "a %s that ends in the meantime leaves no subscription behind",
    async (what) => {
      const { gw, subscribed } = harness({ servers });
      const controller = new AbortController();
      const own = session(alice);
      const ends = {
        ...gw.upstreams,
        subscribe: async (...args: Parameters<typeof gw.upstreams.subscribe>) => {
          const end = await gw.upstreams.subscribe(...args);
          if (what === "call") controller.abort();
          else own.end();
          return end;
        },
      };
      const asking = { era: "legacy", session: own, controller } as const;
      await send({ ...gw, upstreams: ends }, "resources/subscribe", { uri: "file:///a" }, asking);
      expect([own.subscribedTo("file:///a"), subscribed.size, gw.listeners.uris]).toEqual([null, 0, 0]);
    },
  );

  test("does not remain if it is ended before the server grants it; a later request for it is kept", async () => {
    const { gw } = harness({ servers });
    const own = session(alice);
    const granted = Promise.withResolvers<void>();
    const ends: string[] = [];
    const slow: typeof gw.upstreams = {
      ...gw.upstreams,
      async subscribe(_call, { wire }) {
        await granted.promise;
        return () => void ends.push(wire);
      },
    };
    const ask = (method: string, uri: string) =>
      send({ ...gw, upstreams: slow }, `resources/${method}`, { uri }, { era: "legacy", session: own });
    const [a, b] = ["file:///a", "mcpgw+crm:twin:b"] as const;
    const answers = [ask("subscribe", a), ask("subscribe", b), ask("unsubscribe", a), ask("unsubscribe", b)];
    answers.push(ask("subscribe", b));
    granted.resolve();
    for (const { result } of await Promise.all(answers)) expect(result).toEqual({});
    expect([own.subscribedTo(a), own.subscribedTo(b)]).toEqual([null, "crm:twin:b"]);
    expect([ends, gw.listeners.uris]).toEqual([[a, b], 1]);
  });

  test("needs a session, and has a limit", async () => {
    const { gw } = harness({ servers });
    gw.listeners.take(alice.id, listenLimits.uris - 1, listenLimits.characters - 9);
    expect((await send(gw, "resources/subscribe", { uri: "file:///a" }, { era: "legacy" })).error.code).toBe(-32600);
    const asking = { era: "legacy", session: session(alice) } as const;
    const long = await send(gw, "resources/subscribe", { uri: "mcpgw+crm:twin:b" }, asking);
    expect(long.error.message).toContain("more than 8388608 characters");
    await send(gw, "resources/subscribe", { uri: "file:///a" }, asking);
    const over = await send(gw, "resources/subscribe", { uri: "mcpgw+crm:twin:b" }, asking);
    expect(over.call.failure?.code).toBe("overloaded");
    const other = await send(
      gw,
      "resources/subscribe",
      { uri: "file:///a" },
      { ...asking, who: bob, session: session(bob) },
    );
    expect(other.error).toBeUndefined();
  });

  test("writes one record: of the granted subscription, or only of the refusal", async () => {
    const h = harness({ servers: { crm: { resources: [item("file:///a"), item("file:///unavailable")] } } });
    const own = session(alice);
    const ask = (uri: string) => send(h.gw, "resources/subscribe", { uri }, { era: "legacy", session: own });
    expect((await ask("file:///unavailable")).call.failure?.code).toBe("upstream-down");
    expect(types(h.records)).toEqual(["call.refused"]);
    await ask("file:///a");
    expect(types(h.records)).toEqual(["call.refused", "call.end"]);
    expect(h.records[1]?.facts).toEqual({ opens: "subscription" });
  });

  test("D6: is not made if it cannot be recorded", async () => {
    const h = harness({ servers });
    h.failing.on = "call.end";
    const own = session(alice);
    const { error } = await send(h.gw, "resources/subscribe", { uri: "file:///a" }, { era: "legacy", session: own });
    expect(error.data?.retryable).toBe(true);
    expect([h.subscribed.size, own.subscribedTo("file:///a"), h.gw.listeners.uris]).toEqual([0, null, 0]);
  });
});
