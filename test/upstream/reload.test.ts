import { expect, setDefaultTimeout, test } from "bun:test";
import { clientInfoKey, subscriptionIdKey } from "../../src/mcp/meta.ts";
import type { ManagedUpstreams } from "../../src/upstream/upstreams.ts";
import { reasonOf } from "../support/failure.ts";
import { principal } from "../support/principal.ts";
import {
  discovers,
  isCall,
  listening,
  type Message,
  opens,
  openStream,
  type Seen,
  serve,
  type Stream,
  told,
} from "../support/mcp-server.ts";
import type { ServerOptions } from "../../src/upstream/options.ts";
import { callTo, fake, http, listed, memoryLists, quick, serveFake, textOf, upstreams } from "../support/upstream.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(30_000);

test("sets that were taken over are garbage-collected, however many there were", async () => {
  using server = serve(() => null);
  const servers = [http("a", server.url), fake("b")];
  let set = upstreams(servers);
  await set.settled();
  const sets: WeakRef<ManagedUpstreams>[] = [];
  for (let i = 0; i < 10; i++) {
    sets.push(new WeakRef(set));
    set = upstreams(servers, { previous: set });
    await set.settled();
    await set.drainPrevious(0);
  }
  // The collector may mistake a word on the stack for a reference, so a set or two may stay for a while.
  await until(() => {
    Bun.gc(true);
    return sets.filter((one) => one.deref()).length <= 2;
  }, "the earlier sets to be collected");
  expect(set.status().map(({ state }) => state)).toEqual(["ready", "ready"]);
  await set.close(0);
});

test("R18 T46: once the gateway is shutting down, nothing is started: neither an instance that ended nor a server added by a reload", async () => {
  await using first = await listed([fake("a")]);
  first.retire();
  process.kill(first.status()[0]?.pids[0] ?? 0, "SIGKILL");
  // `restarts` is incremented when it would be started again.
  await until(() => first.status()[0]?.restarts === 1, "the end of the pause");
  expect(first.status()).toMatchObject([{ state: "backoff", pids: [] }]);
  await using next = await listed([fake("b")], { previous: first });
  expect(next.status()).toMatchObject([{ id: "b", pids: [], listedAt: null }]);
});

test("the stored lists of a removed server are deleted; those of a disabled server and of another process are kept", async () => {
  const lists = memoryLists();
  await using _other = await listed([fake("other")], { lists });
  await using first = await listed([fake("a"), fake("b"), fake("c")], { lists });
  expect([...lists.remembered.keys()].toSorted()).toEqual(["a", "b", "c", "other"]);
  await using _next = await listed([fake("a"), { ...fake("b"), enabled: false }], { lists, previous: first });
  expect([...lists.remembered.keys()].toSorted()).toEqual(["a", "b", "other"]);
});

test("a set that takes over a server that hangs in its start waits for it only to be ready", async () => {
  const hanging = fake("a", ["--mode", "hang"]);
  const tuning = { start: 60_000 };
  const old = upstreams([hanging], { tuning });
  await using next = await listed([hanging, fake("b")], { previous: old, tuning });
  expect(next.status().map(({ state }) => state)).toEqual(["starting", "ready"]);
  expect(next.awaited()).toEqual(["a"]);
});

test("a server changed by a reload shows its previous lists as stale", async () => {
  const old = await listed([fake("a")]);
  expect(old.status()[0]?.listedAt).toBeNumber();
  await using next = upstreams([fake("a", ["--mode", "hang"])], { previous: old, tuning: { start: 60_000 } });
  const [before] = old.status();
  expect(next.status()[0]).toMatchObject({ state: "starting", tools: before?.tools, listedAt: null });
});

test("a call that waits to learn its server's era finishes on that server, though a reload removes it", async () => {
  const old = upstreams([fake("a", [], { protocol: "auto" })]);
  const running = old.ask("a", "echo");
  expect(old.status()[0]).toMatchObject({ state: "starting", inFlight: 1 });
  await using next = upstreams([], { previous: old });
  const drained = next.drainPrevious(5_000);
  expect(textOf(await running)).toContain("echo");
  await drained;
  expect(old.status()[0]).toMatchObject({ state: "stopping", inFlight: 0, pids: [] });
});

test("an on-demand server that a reload changes to boot during its listing keeps running", async () => {
  const asked = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<null>();
  using server = serve(({ method }) => {
    if (method !== "tools/list") return null;
    asked.resolve();
    return answered.promise;
  });
  const old = upstreams([http("a", server.url, { start: "on-demand" })]);
  await asked.promise;
  await using next = upstreams([http("a", server.url)], { previous: old });
  answered.resolve(null);
  await Promise.all([old.settled(), next.booted()]);
  expect(next.status()).toMatchObject([{ state: "ready" }]);
});

test("a call after its server was removed and stopped does not start it again", async () => {
  const lists = memoryLists();
  const options = fake("a", [], { protocol: "auto", start: "on-demand" });
  await using _first = await listed([options], { lists });
  await using old = await listed([options], { lists });
  await using next = upstreams([], { previous: old });
  await next.drainPrevious(0);
  expect(await reasonOf(old.ask("a", "echo"))).toMatchObject({ code: "upstream-down", detail: { ran: "no" } });
  expect(old.status()[0]).toMatchObject({ state: "stopping", pids: [] });
  expect(old.events.map(({ type }) => type)).toEqual([]);
});

test("a server removed by a reload keeps serving a call that holds it, and stops when the call releases it", async () => {
  const old = await listed([fake("a")]);
  const leave = old.hold("a");
  await old.ask("a", "echo");
  await using next = upstreams([], { previous: old });
  const drained = next.drainPrevious(60_000);
  for (let round = 0; round < 2; round++) expect(textOf(await old.ask("a", "echo"))).toContain("echo");
  leave();
  await drained;
  expect(old.status()[0]).toMatchObject({ state: "stopping", inFlight: 0, pids: [] });
});

for (const reloads of [1, 2]) {
  test(`a server that is draining after ${reloads} reloads has the shutdown's time to finish, and ends with it in order`, async () => {
    const old = await listed([fake("a")]);
    await old.ask("a", "echo");
    const running = old.ask("a", "slow", { ms: 500 }).then(textOf, String);
    let set = old;
    const drained: Promise<void>[] = [];
    for (let reload = 0; reload < reloads; reload++) {
      set = upstreams([], { previous: set });
      drained.push(set.drainPrevious(60_000));
    }
    await set.close(10_000);
    expect(await running).toContain("500");
    expect(old.status()[0]).toMatchObject({ state: "stopping", pids: [] });
    expect(old.events.filter(({ type }) => type === "server.stopped")).toHaveLength(2);
    await Promise.all(drained);
    expect(old.events.filter(({ type }) => type === "server.stopped")).toHaveLength(2);
  });
}

test("a draining server does not delay a shutdown beyond its time", async () => {
  const old = await listed([fake("a")]);
  const running = reasonOf(old.ask("a", "hang"));
  await until(() => old.status()[0]?.pids.length === 2, "the call");
  const set = upstreams([], { previous: old });
  const drained = set.drainPrevious(60_000);
  await set.close(0);
  expect(await running).toMatchObject({ code: "lost", detail: { ran: "maybe" } });
  expect(old.status()[0]?.pids).toEqual([]);
  await drained;
});

test("a draining server is neither checked nor listed", async () => {
  const hung = Promise.withResolvers<null>();
  const answer = (message: Message) => (isCall(message) ? hung.promise : null);
  using a = serve(answer);
  using b = serve(answer);
  const often = { healthCheck: 20, refresh: 20 };
  const servers = [a, b].map(({ url }, at) => ({
    ...http(at === 0 ? "a" : "b", url, { protocol: "legacy" }),
    ...often,
  }));
  const old = await listed(servers);
  // A check may take as long as the interval between two checks.
  for (const options of servers) options.healthCheck = 10_000;
  const running = old.ask("a", "x");
  await until(() => a.of("tools/call").length === 1 && a.of("ping").length > 0, "the call and a check");
  await using next = upstreams(servers.slice(1), { previous: old });
  const drained = next.drainPrevious(60_000);
  const before = a.seen.length;
  const others = () => Math.min(b.of("ping").length, b.of("tools/list").length);
  const then = others() + 10;
  await until(() => others() >= then, "checks and listings of the other");
  // One of each may have been in flight.
  expect(a.seen.length - before).toBeLessThanOrEqual(2);
  hung.resolve(null);
  await Promise.all([running, drained]);
});

test("a subscription made while a reload changes its server continues there, and fails if the server is removed", async () => {
  const old = await listed([fake("a", ["--rich"]), fake("b", ["--rich"])]);
  const who = principal("bob");
  // The servers keep running as long as these calls run.
  const running = ["a", "b"].map((id) => old.ask(id, "hang", {}, { who }).catch(() => {}));
  const told: (string | null)[] = [];
  const made = old.follow("a", "test://a", (params) => void told.push(params));
  const refused = reasonOf(old.follow("b", "test://a", () => {}));
  const next = upstreams([fake("a", ["--rich", "--changed"])], { previous: old });
  const drained = next.drainPrevious(60_000);
  await made;
  expect(await refused).toMatchObject({ code: "upstream-down", detail: { ran: "no" } });
  expect(next.status()[0]).toMatchObject({ id: "a", subscriptions: 1 });
  const update = { method: "notifications/resources/updated", params: { uri: "test://a" } };
  await next.ask("a", "announce", update);
  await until(() => told.length > 0, "the update");
  await next.close(0);
  await Promise.all([drained, ...running]);
});

/** Makes calls with results of `size` bytes on a set that takes over with another limit. */
async function outcomes(flags: string[][], results: { before: number; after: number }, size: number) {
  await using remote = new AsyncDisposableStack();
  const options = [fake("child")];
  for (const [at, args] of flags.entries())
    options.push({ ...remote.use(await serveFake(args)).options, id: `a${at}` });
  const first = await listed(options, { result: results.before });
  for (const { id } of options) await first.ask(id, "echo");
  await using set = await listed(options, { result: results.after, previous: first });
  const ask = ({ id }: ServerOptions): Promise<string> => set.ask(id, "big", { size }).then(() => "ok", String);
  const all = await Promise.all(options.map(ask));
  expect(set.status().map(({ instances, restarts }) => [instances, restarts])).toEqual(options.map(() => [1, 0]));
  return all;
}

const mib = 1024 ** 2;
const transports = [["--http"], ["--http", "--sse"], ["--pair"], ["--websocket"]];

test("a lowered limits.result applies to running servers, and messages name the configured value", async () => {
  const all = await outcomes(transports, { before: 2 * mib, after: mib }, 1.5 * mib);
  expect(all.filter((one) => !one.includes("is larger than 1048576 bytes (limits.result)"))).toEqual([]);
});

test("a raised limits.result applies to running servers", async () => {
  expect(await outcomes(transports, { before: mib, after: 2 * mib }, 1.5 * mib)).toEqual(Array(5).fill("ok"));
  // More than a pipe accepts by default.
  expect(await outcomes([], { before: mib, after: 20 * mib }, 17 * mib)).toEqual(["ok"]);
});

test("a raised limits.result applies to open streams", async () => {
  const open: Stream[] = [];
  using modern = serve(({ method, id, params }) => {
    if (method === "server/discover") return discovers(id);
    if (method !== "subscriptions/listen") return null;
    return listening(id, params?.["notifications"], (one) => open.push(one));
  });
  using legacy = serve(({ method, id }, request) => {
    if (request.method === "GET") return openStream({ start: (one) => void open.push(one) });
    return method === "initialize" ? opens(id, "s") : null;
  });
  const servers = [http("a", modern.url), http("b", legacy.url)];
  const first = upstreams(servers, { result: mib });
  const heard = new Set<string>();
  await first.settled();
  await first.follow("a", "test://a", () => heard.add("modern"), "modern");
  await first.follow("b", "test://a", () => heard.add("legacy"));
  // A listening request, and the streams of two sessions: the gateway's own and the caller's.
  await until(() => open.length === 3, "the streams");
  await using set = upstreams(servers, { result: 2 * mib, previous: first });
  const id = modern.of("subscriptions/listen")[0]?.message.id;
  const _meta = { [subscriptionIdKey]: id, padding: "x".repeat(1.5 * mib) };
  const updated = told("notifications/resources/updated", { uri: "test://a", _meta });
  for (const one of open) one.enqueue(updated);
  await until(() => heard.size === 2, "what is longer than was allowed before");
  expect(set.status()).toMatchObject([{ restarts: 0 }, { restarts: 0 }]);
});

/** The name of the gateway in a request. */
function nameIn({ message: { params } }: Seen): string | undefined {
  const meta = params?.["_meta"] as Record<string, unknown> | undefined;
  const info = (meta?.[clientInfoKey] ?? params?.["clientInfo"]) as { name: string } | undefined;
  return info?.name;
}

test("after gateway.name has changed, every request to a running modern server carries the new name", async () => {
  const streams: Stream[] = [];
  using server = serve(({ method, id, params }) => {
    if (method === "server/discover") return discovers(id, { tools: { listChanged: true } });
    if (method !== "subscriptions/listen") return null;
    return listening(id, params?.["notifications"], (stream) => streams.push(stream));
  });
  const follow = (set: ManagedUpstreams, taskId: string) => {
    const call = callTo("x", {}, { era: "modern" });
    const watch = { server: "a", taskIds: [taskId], changed: () => {}, lost: () => {} };
    return set.followTasks(call, watch);
  };
  const first = await listed([http("a", server.url)], { name: "before" });
  await first.follow("a", "test://a", () => {}, "modern");
  await follow(first, "t-1");
  await until(() => streams.length === 3, "a request that listens for lists, one for a resource, one for a task");
  await using set = upstreams([http("a", server.url)], { name: "after", previous: first });
  const before = server.seen.length;
  for (const stream of streams.splice(0)) stream.close();
  // One after the other, since another resource replaces the listening request.
  await until(() => streams.length === 3 && server.of("tools/list").length === 2, "the same anew, and the list");
  await set.follow("a", "test://b", () => {}, "modern");
  await follow(set, "t-2");
  const after = server.seen.slice(before);
  expect(after.map((one) => [one.method, nameIn(one)])).toEqual(after.map(({ method }) => [method, "after"]));
});

test("a session that a legacy server loses after gateway.name has changed is reopened under the new name", async () => {
  let session = "one";
  using server = serve(({ method, id }, { headers }) => {
    if (method === "initialize") return opens(id, session);
    const sent = headers.get("mcp-session-id");
    return sent === null || sent === session ? null : new Response(null, { status: 404 });
  });
  const first = await listed([http("a", server.url)], { name: "before" });
  await first.ask("a", "echo");
  await using set = upstreams([http("a", server.url)], { name: "after", previous: first });
  const before = server.of("initialize").length;
  session = "two";
  await set.ask("a", "echo");
  expect(server.of("initialize").slice(before).map(nameIn)).toContain("after");
  expect(server.of("initialize").slice(before).map(nameIn)).not.toContain("before");
});

test("R18: a timeout changed by a reload applies to the gateway's own requests over open links", async () => {
  const hangs = Promise.withResolvers<never>();
  let lists = 0;
  using server = serve(({ method }) => (method === "tools/list" && lists++ > 0 ? hangs.promise : null));
  const first = await listed([http("a", server.url)]);
  const shorter = { ...http("a", server.url, { timeout: "100ms" }), refresh: 30 };
  await using set = upstreams([shorter], { previous: first });
  await until(() => set.warnings[0], "a list that takes longer than it may now");
  expect(set.warnings[0]).toContain("did not answer within 100ms");
});

test("R18: a session that is lost after the timeout has changed is reopened within the new timeout", async () => {
  let session = "one";
  using server = serve(async ({ method, id }, { headers }) => {
    if (method === "initialize") {
      // Longer than the old timeout.
      if (session === "two") await Bun.sleep(700);
      return opens(id, session);
    }
    const sent = headers.get("mcp-session-id");
    return sent === null || sent === session ? null : new Response(null, { status: 404 });
  });
  const first = await listed([http("a", server.url, { timeout: "500ms" })]);
  await first.ask("a", "echo");
  await using set = upstreams([http("a", server.url, { timeout: "10s" })], { previous: first });
  session = "two";
  expect(textOf(await set.ask("a", "echo"))).toBe("ok");
  expect(set.warnings).toEqual([]);
});

test("a reload does not start a server that is backing off after a failure", async () => {
  using server = serve(({ method }) => (method === "initialize" ? new Response("broken", { status: 500 }) : null));
  const servers = [http("a", server.url, { protocol: "legacy" })];
  const tuning = { breaker: { ...quick.breaker, first: 60_000, most: 60_000 } };
  const first = upstreams(servers, { tuning });
  await first.booted();
  await using next = upstreams(servers, { tuning, previous: first });
  await next.booted();
  expect([next.status()[0]?.state, server.of("initialize").length]).toEqual(["backoff", 1]);
});

test("notifications of a server that a reload takes over reach the current set", async () => {
  const old = await listed([fake("a")]);
  await using next = upstreams([fake("a", [], { timeout: "9s" })], { previous: old });
  await next.ask("a", "announce", { method: "notifications/tasks", params: { taskId: "t" } });
  await until(() => next.notices.length === 1, "the notice");
  expect([next.notices[0]?.method, old.notices]).toEqual(["notifications/tasks", []]);
});
