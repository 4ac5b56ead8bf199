import { describe, expect, test } from "bun:test";
import { alice, bob, harness, type Options, send, session } from "./support.ts";

const item = (name: string) => ({ name, text: JSON.stringify({ name }) });
const servers: NonNullable<Options["servers"]> = { crm: { resources: [item("file:///a"), item("twin:b")] } };

describe("resources/subscribe", () => {
  test("updates reach the session under the URI on the wire, until it unsubscribes", async () => {
    const { gw, subscribed, notifier } = harness({ servers });
    const own = session(alice);
    const asking = { era: "legacy", session: own } as const;
    const uri = "gw+crm:twin:b";
    await send(gw, "resources/subscribe", { uri }, asking);
    await send(gw, "resources/subscribe", { uri }, asking);
    expect([gw.listens.uris, subscribed.size]).toEqual([1, 1]);
    subscribed.get("key:alice twin:b")?.();
    expect(notifier.told).toEqual([`notifications/resources/updated {"uri":"${uri}"}`]);
    await send(gw, "resources/unsubscribe", { uri }, asking);
    expect([gw.listens.uris, subscribed.size, own.subscribedTo(uri)]).toEqual([0, 0, false]);
  });

  test("a resource that may not be read any more is not told of", async () => {
    const { gw, subscribed, notifier } = harness({ servers });
    const own = session(alice);
    await send(gw, "resources/subscribe", { uri: "file:///a" }, { era: "legacy", session: own });
    gw.listens.putInForce({ serves: new Set(["crm"]), hasScope: () => false, allows: () => false });
    subscribed.get("key:alice file:///a")?.();
    expect(notifier.told).toEqual([]);
  });

  test.each(["session", "call"] as const)("of a %s that ends meanwhile nothing is left", async (what) => {
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
    expect([own.subscribedTo("file:///a"), subscribed.size, gw.listens.uris]).toEqual([false, 0, 0]);
  });

  test("needs a session, and has a limit", async () => {
    const { gw } = harness({ servers, listens: { total: 9, perOwner: 9, uris: 1 } });
    expect((await send(gw, "resources/subscribe", { uri: "file:///a" }, { era: "legacy" })).error.code).toBe(-32600);
    const asking = { era: "legacy", session: session(alice) } as const;
    await send(gw, "resources/subscribe", { uri: "file:///a" }, asking);
    const over = await send(gw, "resources/subscribe", { uri: "gw+crm:twin:b" }, asking);
    expect(over.call.failure?.code).toBe("overloaded");
    const other = await send(
      gw,
      "resources/subscribe",
      { uri: "file:///a" },
      { ...asking, who: bob, session: session(bob) },
    );
    expect(other.error).toBeUndefined();
  });
});
