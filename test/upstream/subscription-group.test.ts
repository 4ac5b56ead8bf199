import { expect, setDefaultTimeout, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { stdioOptions } from "../../src/upstream/options.ts";
import { rejectionOf } from "../support/failure.ts";
import {
  discovers,
  isCall,
  listening,
  refusal,
  reply,
  serve,
  serveSessions,
  unknownSession,
} from "../support/mcp-server.ts";
import { principal } from "../support/principal.ts";
import { TempDir } from "../support/temp-dir.ts";
import {
  callTo,
  fake,
  fakeArgs,
  http,
  jsonOf,
  listed,
  resourceRoute,
  serveFake,
  upstreams,
} from "../support/upstream.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

test("a resource that the server refuses is not subscribed to", async () => {
  using server = serve(({ method, id }) =>
    method === "resources/subscribe" ? refusal(id, -32002, "no such resource") : null,
  );
  await using set = upstreams([http("a", server.url)]);
  const failure = await rejectionOf(set.follow("a", "test://a", () => {}));
  expect(failure).toMatchObject({ code: "invalid-params" });
  expect(JSON.parse(failure.detail.refusal ?? "{}")).toEqual({ code: -32002, message: "no such resource" });
  expect(set.status()[0]?.subscriptions).toBe(0);
});

/** A legacy server that knows its sessions until it forgets them, and answers subscriptions as the test says. */
function serveForgetting(subscribe: (id: unknown, uri: unknown) => Response | Promise<Response>) {
  let forgotten = 0;
  const server = serveSessions((message, session) => {
    const { id, method, params } = message;
    const subscribes = method === "resources/subscribe";
    if ((subscribes || isCall(message)) && Number(session?.slice(1)) <= forgotten) return unknownSession(id);
    return subscribes ? subscribe(id, params?.["uri"]) : null;
  });
  const uris = (): unknown[] => server.of("resources/subscribe").map(({ message }) => message.params?.["uri"]);
  return Object.assign(server, { uris, forget: () => (forgotten = server.opened()) });
}

test("FIELD T45: a server that answers every subscription as if its session were lost is asked for new sessions with pauses", async () => {
  const asked: number[] = [];
  let takes = true;
  using server = serveForgetting((id) => {
    if (takes) return reply(id, {});
    asked.push(performance.now());
    return unknownSession(id);
  });
  await using set = upstreams([http("a", server.url, { getStream: "off" })]);
  await set.follow("a", "test://a", () => {});
  takes = false;
  server.forget();
  await set.ask("a", "t");
  await until(() => asked.length > 2, "the second attempt");
  // Each attempt asks in the current session and in the one that replaces it.
  expect(asked[2]! - asked[1]!).toBeGreaterThan(500);
  const before = server.of("initialize").length;
  expect(await rejectionOf(set.follow("a", "test://b", () => {}))).toMatchObject({ code: "invalid-params" });
  expect(server.of("initialize").length - before).toBeLessThan(4);
});

test("FIELD T45: resources that callers have left in the meantime are not requested in a new session", async () => {
  const answer = Promise.withResolvers<void>();
  let waits = false;
  using server = serveForgetting(async (id) => {
    if (waits) await answer.promise;
    return reply(id, {});
  });
  await using set = upstreams([http("a", server.url, { getStream: "off" })]);
  await set.follow("a", "test://a", () => {});
  const ends = [await set.follow("a", "test://b", () => {}), await set.follow("a", "test://c", () => {})];
  waits = true;
  server.forget();
  await set.ask("a", "t");
  await until(() => server.uris().length === 4, "the first to be asked for again");
  for (const end of ends) end();
  answer.resolve();
  await set.follow("a", "test://d", () => {});
  expect(server.uris().slice(3)).toEqual(["test://a", "test://d"]);
});

test("FIELD T45: a resource that the server refuses permanently delays no other one in the session that replaces a lost one", async () => {
  let refuses = false;
  using server = serveForgetting((id, uri) =>
    refuses && uri === "test://a" ? refusal(id, -32002, "no such resource") : reply(id, {}),
  );
  await using set = upstreams([http("a", server.url, { getStream: "off" })]);
  for (const uri of ["test://a", "test://b"]) await set.follow("a", uri, () => {});
  refuses = true;
  const begun = performance.now();
  for (let times = 2; times < 5; times++) {
    server.forget();
    await set.ask("a", "t");
    await until(() => server.uris().filter((uri) => uri === "test://b").length === times, "the other");
  }
  // The pauses before the first one would add up to three seconds.
  expect(performance.now() - begun).toBeLessThan(1_500);
});

test("FIELD T45: a caller whose subscription is granted in the session that replaces a lost one waits for no other attempt", async () => {
  let refuses = false;
  using server = serveForgetting((id, uri) =>
    refuses && uri === "test://a" ? refusal(id, -32002, "no such resource") : reply(id, {}),
  );
  await using set = upstreams([http("a", server.url, { getStream: "off" })]);
  await set.follow("a", "test://a", () => {});
  refuses = true;
  server.forget();
  await set.ask("a", "t");
  // The next attempt for that one comes later.
  await until(() => server.uris().length === 2, "the refusal");
  server.forget();
  const begun = performance.now();
  await set.follow("a", "test://b", () => {});
  expect(performance.now() - begun).toBeLessThan(500);
});

test("a caller that joins a subscription which the server then refuses is refused too", async () => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  using server = serve(async ({ method, id }) => {
    if (method !== "resources/subscribe") return null;
    asked.resolve();
    await answer.promise;
    return refusal(id, -32002, "no such resource");
  });
  await using set = upstreams([http("a", server.url)]);
  const first = rejectionOf(set.follow("a", "test://a", () => {}));
  await asked.promise;
  const second = rejectionOf(set.follow("a", "test://a", () => {}));
  await until(() => set.status()[0]?.instances === 1, "the one instance");
  answer.resolve();
  expect(await Promise.all([first, second])).toMatchObject([{ code: "invalid-params" }, { code: "invalid-params" }]);
  expect(set.status()[0]?.subscriptions).toBe(0);
  expect(server.of("resources/subscribe").length).toBe(1);
});

test("one listening request covers all resources of a modern instance; a resource that the server does not announce is refused", async () => {
  await using served = await serveFake(["--http", "--sse", "--rich", "--era", "modern"]);
  await using set = await listed([served.options]);
  const told: string[] = [];
  const stops = [
    await set.follow("fake", "test://a", () => told.push("a"), "modern"),
    await set.follow("fake", "test://b", () => told.push("b"), "modern"),
  ];
  const touch = (uri: string) =>
    set.ask("fake", "announce", { method: "notifications/resources/updated", params: { uri } }, { era: "modern" });
  await touch("test://b");
  await until(() => told.length > 0, "the second");
  await touch("test://a");
  await until(() => told.includes("a"), "the first");
  stops[1]?.();
  expect(set.status()[0]).toMatchObject({ subscriptions: 1 });
  expect(await rejectionOf(set.follow("fake", "test://refused", () => {}, "modern"))).toMatchObject({
    code: "upstream-down",
    message: expect.stringContaining("does not announce changes"),
  });
  told.length = 0;
  await touch("test://a");
  await until(() => told.includes("a"), "the first to be told still");
  expect(told).not.toContain("b");
});

test("a refusal by a modern server affects only the resources that were requested, not a caller that joins in the meantime", async () => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  using server = serve(async ({ method, id, params }) => {
    if (method === "server/discover") return discovers(id);
    if (method !== "subscriptions/listen") return null;
    const { notifications } = params as { notifications: { resourceSubscriptions: string[] } };
    if (!notifications.resourceSubscriptions.includes("test://a")) return listening(id, notifications);
    asked.resolve();
    await answer.promise;
    return refusal(id, -32602, "no such resource");
  });
  await using set = await listed([http("a", server.url)]);
  const first = rejectionOf(set.follow("a", "test://a", () => {}, "modern"));
  await asked.promise;
  const second = set.follow("a", "test://b", () => {}, "modern");
  await until(() => set.status()[0]?.subscriptions === 2, "the second to be wanted");
  answer.resolve();
  expect(await first).toMatchObject({ code: "upstream-down" });
  await second;
  expect(set.status()[0]?.subscriptions).toBe(1);
});

for (const notifications of [{}, { resourcesListChanged: true }, { resourceSubscriptions: [] }]) {
  test(`a modern server that honors only ${JSON.stringify(notifications)} grants no subscription, and its stream is ended`, async () => {
    const open = new Set<unknown>();
    using server = serve(({ method, id }, request) => {
      if (method === "server/discover") return discovers(id);
      if (method === "initialize") return new Response(null, { status: 404 });
      if (method !== "subscriptions/listen") return null;
      open.add(id);
      request.signal.addEventListener("abort", () => open.delete(id));
      return listening(id, notifications);
    });
    await using set = await listed([http("a", server.url)]);
    expect(await rejectionOf(set.follow("a", "test://a", () => {}))).toMatchObject({ code: "upstream-down" });
    await until(() => set.status()[0]?.subscriptions === 0, "its end");
    await until(() => open.size === 0, "the end of the request");
  });
}

test("subscriptions survive a crash of their instance", async () => {
  await using set = upstreams([fake("a", ["--rich"])]);
  let updated = 0;
  await set.follow("a", "test://a", () => updated++);
  const { pid } = jsonOf(await set.ask("a", "count"));
  process.kill(Number(pid), "SIGKILL");
  await until(() => updated > 0, "the listener to be told that it may have missed something");
  const seen = jsonOf(await set.ask("a", "seen"));
  expect(seen.subscribed).toEqual(["+test://a"]);
  expect(jsonOf(await set.ask("a", "count")).pid).not.toBe(pid);
});

test("subscriptions survive a change of their server's options", async () => {
  const old = await listed([fake("a", ["--rich"])]);
  let updated = 0;
  const stop = await old.follow("a", "test://a", () => updated++);
  await using next = upstreams([fake("a", ["--rich"], { env: { CHANGED: "1" } })], { previous: old });
  await until(() => updated > 0, "the listener to be told that it may have missed something");
  await next.drainPrevious(0);
  const seen = async () => (jsonOf(await next.ask("a", "seen")).subscribed as string[]).join();
  expect(await seen()).toBe("+test://a");
  expect(next.status()[0]?.subscriptions).toBe(1);
  stop();
  await until(async () => (await seen()) === "+test://a,-test://a", "the end");
});

test("subscriptions of a removed server continue once it is back", async () => {
  const old = await listed([fake("a", ["--rich"])]);
  let updated = 0;
  const stop = await old.follow("a", "test://a", () => updated++);
  await old.follow("a", "test://b", () => updated++);
  const between = upstreams([fake("b")], { previous: old });
  await between.drainPrevious(0);
  const later = upstreams([fake("b")], { previous: between });
  stop();
  expect(updated).toBe(0);
  await using next = upstreams([fake("a", ["--rich"])], { previous: later });
  await until(() => updated > 0, "the listener to be told that it may have missed something");
  await next.drainPrevious(0);
  expect(jsonOf(await next.ask("a", "seen")).subscribed).toEqual(["+test://b"]);
});

test("a caller that waits for a subscription is refused when the server is removed", async () => {
  using server = serve(({ method }) => (method === "resources/subscribe" ? new Promise(() => {}) : null));
  const old = await listed([http("a", server.url)]);
  const refused = rejectionOf(old.follow("a", "test://a", () => {}));
  await until(() => server.of("resources/subscribe").length === 1, "the request");
  await using next = upstreams([], { previous: old });
  const drained = next.drainPrevious(0);
  expect((await refused).message).toContain("not available");
  await drained;
});

test("R18: after a reload that changes `isolation`, each caller's subscriptions continue at the instance that its calls reach", async () => {
  let last = await listed([fake("a", ["--rich"], { isolation: "shared" })]);
  const told: string[] = [];
  const missed = { alice: 0, bob: 0 };
  const ends: (() => void)[] = [];
  for (const name of ["alice", "bob"] as const) {
    const updated = (params: string | null): unknown => (params === null ? missed[name]++ : told.push(name));
    const call = callTo("x", {}, { who: principal(name) });
    ends.push(await last.subscribe(call, resourceRoute("a", "test://a"), updated));
  }
  const announce = (name: string) => last.ask("a", "announce", changed, { who: principal(name) });
  const changed = { method: "notifications/resources/updated", params: { uri: "test://a" } };
  for (const [at, isolation] of ["per-principal", "shared", "per-session"].entries()) {
    const next = upstreams([fake("a", ["--rich"], { isolation })], { previous: last });
    last = next;
    await until(
      () => missed.alice > at && missed.bob > at,
      "the listeners to be told that they may have missed something",
    );
    told.length = 0;
    await announce("alice");
    await announce("bob");
    const both = isolation === "shared" ? 2 : 1;
    await until(() => told.length === 2 * both, "the updates");
    expect(told).toEqual(isolation === "shared" ? ["alice", "bob", "alice", "bob"] : ["alice", "bob"]);
    await next.drainPrevious(0);
    expect(next.status()[0]).toMatchObject({ subscriptions: 3 - both, instances: 3 - both });
    expect(missed).toEqual({ alice: at + 1, bob: at + 1 });
  }
  for (const end of ends) end();
  await until(() => last.status()[0]?.subscriptions === 0, "the end");
  await last.close(0);
});

test("R18: after a reload that changes `isolation` during an instance's restart, its subscriptions continue where calls go", async () => {
  using temp = new TempDir();
  const hold = temp.path("hold");
  const held = 'while [ -e "$0" ]; do sleep 0.02; done; exec "$@"';
  const argv = [process.execPath, ...fakeArgs("--rich")];
  const options = { id: "a", command: "sh", args: ["-c", held, hold, ...argv], protocol: "legacy" };
  const old = await listed([stdioOptions.parse(options)]);
  let missed = 0;
  const told: string[] = [];
  await old.follow("a", "test://a", (params) => (params === null ? missed++ : told.push(params)));
  const { pid } = jsonOf(await old.ask("a", "count"));
  writeFileSync(hold, "");
  process.kill(Number(pid), "SIGKILL");
  await until(() => old.events.filter(({ type }) => type === "server.started").length === 3, "its next start");
  await using next = upstreams([stdioOptions.parse({ ...options, isolation: "shared" })], { previous: old });
  rmSync(hold);
  await until(() => missed > 0, "the listener to be told that it may have missed something");
  const update = { method: "notifications/resources/updated", params: { uri: "test://a" } };
  await next.ask("a", "announce", update, { who: principal("bob") });
  await until(() => told.length === 1, "the update");
  expect([missed, next.status()[0]?.subscriptions, next.status()[0]?.instances]).toEqual([1, 1, 1]);
});

test("R18: after a reload that changes a server's era, subscriptions continue at the instance that calls reach", async () => {
  const old = await listed([fake("a", ["--era", "both"], { protocol: "legacy" })]);
  let missed = 0;
  const told: string[] = [];
  await old.follow("a", "test://a", (params) => (params === null ? missed++ : told.push(params)));
  await using next = upstreams([fake("a", ["--era", "both"], { protocol: "modern" })], { previous: old });
  await until(() => missed > 0, "the listener to be told that it may have missed something");
  await next.ask("a", "announce", { method: "notifications/resources/updated", params: { uri: "test://a" } });
  await until(() => told.length === 1, "the update");
  await next.drainPrevious(0);
  expect(next.status()[0]).toMatchObject({ subscriptions: 1, instances: 1 });
});
