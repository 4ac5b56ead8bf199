import { getEventListeners } from "node:events";
import { expect, test } from "bun:test";
import type { Client } from "../../src/control/contract.ts";
import { Unanswered } from "../../src/control/refusal.ts";
import { tail } from "../../src/daemon/handlers/tail.ts";
import { Feed } from "../../src/tui/feed.ts";
import { openBroker, runCall, tempState } from "../support/audit.ts";
import { archiveAt } from "../support/archive.ts";
import { served } from "../support/control-server.ts";
import { reasonOf } from "../support/failure.ts";
import { until } from "../support/until.ts";

const silence = new Promise<never>(() => {});
const nothing = { servers: [], consumers: [], records: [], frozen: false, notReady: null };

/** Returns a client whose requests resolve to `answer` and whose stream continues with `next`. */
const clientOf = (answer: (name: string) => unknown, next: (signal: AbortSignal) => unknown = () => silence): Client =>
  ({
    call: async (name: string) => answer(name),
    stream: (_name: string, _input: unknown, signal: AbortSignal) => ({
      [Symbol.asyncIterator]: () => ({ next: () => next(signal) }),
    }),
    close() {},
  }) as unknown as Client; // the parts that a feed uses

test("repeated polls leave no abort listeners behind", async () => {
  let looks = 0;
  let signal = AbortSignal.abort();
  const client = clientOf(
    (name) => ((looks += Number(name === "consumers")), nothing),
    (ending) => ((signal = ending), silence),
  );
  const feed = new Feed({ open: async () => client, every: 1 });
  await until(() => looks > 10, "several looks");
  const heard = feed.view().heard ?? Infinity;
  await until(() => (feed.view().heard ?? 0) > heard, "a later answer");
  expect(signal.aborted).toBe(false);
  // The pause between two polls has one.
  expect(getEventListeners(signal, "abort").length).toBeLessThan(2);
  feed.close();
});

test("a feed whose stream ends or fails continues on a new connection only", async () => {
  let opened = 0;
  const signals: AbortSignal[] = [];
  const gone = new Error("the daemon has gone");
  const client = clientOf(
    (name) => {
      if (opened === 1 && name === "audit.log") throw gone;
      return nothing;
    },
    async (signal) => {
      signals.push(signal);
      if (opened === 1) throw gone;
      return opened === 2 ? { done: true } : silence;
    },
  );
  const open = async () => (opened++, client);
  const feed = new Feed({ open, retry: 1 });
  await until(() => opened === 3 && feed.view().link === "live", "another connection");
  // Nothing of an earlier connection is still running.
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, true, false]);
  feed.close();
});

test("a feed closed while connecting does not keep its process alive", async () => {
  const code = `
    import { Feed } from ${JSON.stringify(new URL("../../src/tui/feed.ts", import.meta.url).pathname)};
    const opened = Promise.withResolvers();
    const feed = new Feed({ open: () => opened.promise, retry: 60_000 });
    feed.close();
    opened.reject(new Error("no daemon"));`;
  const child = Bun.spawn([process.execPath, "-e", code], { stderr: "inherit" });
  expect(await child.exited).toBe(0);
});

test("a feed closed while waiting for an answer does not keep its process alive", async () => {
  const code = `
    import { Feed } from ${JSON.stringify(new URL("../../src/tui/feed.ts", import.meta.url).pathname)};
    const asked = Promise.withResolvers();
    const call = () => (asked.resolve(), new Promise(() => {}));
    const stream = () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) });
    const feed = new Feed({ open: async () => ({ call, stream, close() {} }) });
    await asked.promise;
    process.stdout.write("asked");
    feed.close();`;
  const child = Bun.spawn([process.execPath, "-e", code], { stdout: "pipe", stderr: "inherit" });
  for await (const _said of child.stdout) break;
  const closed = performance.now();
  expect(await child.exited).toBe(0);
  // It would otherwise wait five seconds for the answer.
  expect(performance.now() - closed).toBeLessThan(4_000);
});

test("the retry delay does not grow after connections that worked", async () => {
  let opened = 0;
  const client = clientOf(
    () => nothing,
    async () => ({ done: true }),
  );
  const feed = new Feed({ open: async () => (opened++, client), retry: 1 });
  // Doubling the delay each time would take eight seconds.
  await until(() => opened >= 15, "many links", 6_000);
  feed.close();
}, 30_000);

test("R123: a console that misses records is told how many, each time", async () => {
  using at = tempState();
  // Only `flush` makes records durable, so all records of a round become durable at once.
  await using opened = await openBroker(at, { checkpointEvery: { interval: 3_600_000, records: 1e6 } }, { tick: 6e4 });
  using archive = archiveAt(at);
  using server = await served({
    tail: (input, ctx) => tail(opened.broker, archive, input, ctx),
    "audit.log": () => ({ records: [], more: false }),
  });
  const feed = new Feed({ open: server.open });
  await until(() => feed.view().link === "live", "the console follows");
  for (const missed of [500, 1000]) {
    await Promise.all(Array.from({ length: 750 }, () => runCall(opened.broker)));
    await opened.broker.flush();
    await until(() => feed.view().missed === missed, `${missed} missed records`);
  }
  await until(() => feed.view().records.length > 0, "the frame that shows the others");
  expect(new Set(feed.view().records.map(({ type }) => type))).toEqual(new Set(["call.end"]));
  feed.close();
});

test("a console that runs for a long time keeps the newest thousand records", async () => {
  let seq = 0;
  const next = async () => {
    if (seq === 1_500) await silence;
    seq++;
    return { done: false, value: { chain: "main", seq, at: seq, type: "call.end" } };
  };
  const feed = new Feed({ open: async () => clientOf(() => nothing, next) });
  await until(() => feed.view().records[0]?.seq === 1_500, "the last record");
  expect(feed.view().records.at(-1)?.seq).toBe(501);
  feed.close();
});

test("records that arrive faster than they are drawn are merged in batches", async () => {
  let seq = 0;
  const shown = new Set<unknown>();
  const next = async () => {
    shown.add(feed.view().records);
    if (seq === 1_500) await silence;
    seq++;
    return { done: false, value: { chain: "main", seq, at: seq, type: "call.end" } };
  };
  const feed: Feed = new Feed({ open: async () => clientOf(() => nothing, next) });
  await until(() => feed.view().records[0]?.seq === 1_500, "the last record");
  // A frame lasts 50 ms, and this many records arrive in a fraction of it.
  expect(shown.size).toBeLessThan(100);
  feed.close();
});

test("a removed listener, or one of a closed feed, is not notified", async () => {
  const client = clientOf(() => nothing);
  const feeds = Array.from({ length: 2 }, () => new Feed({ open: async () => client, every: 1 }));
  const heard = { left: 0, closed: 0, other: 0 };
  const [feed, other] = feeds;
  feed?.subscribe(() => heard.left++)();
  feed?.subscribe(() => heard.closed++);
  other?.subscribe(() => heard.other++);
  await until(() => heard.closed > 0, "it is drawn");
  // Later changes have not been drawn yet.
  await until(() => other?.view().heard !== null, "an answer");
  feed?.close();
  const before = heard.closed;
  const from = heard.other;
  await until(() => heard.other > from + 3, "another one is drawn several times");
  expect(heard).toMatchObject({ left: 0, closed: before });
  other?.close();
});

test("R125 a console shows why there is no connection, and which chains are unreadable once there is one", async () => {
  const attempts = Array.from({ length: 3 }, () => Promise.withResolvers<Client>());
  let at = 0;
  const feed = new Feed({ open: () => attempts[at++]?.promise ?? silence, retry: 1 });
  expect(feed.view()).toMatchObject({ link: "connecting", trouble: null, heard: null });
  attempts[0]?.reject(new Unanswered("it hangs"));
  await until(() => at === 2, "the next attempt");
  expect(feed.view()).toMatchObject({ link: "silent", trouble: "it hangs", gateway: null });
  attempts[1]?.reject(new Error("it is gone"));
  await until(() => at === 3, "the next attempt");
  expect(feed.view()).toMatchObject({ link: "lost", trouble: "it is gone" });
  attempts[2]?.resolve(clientOf(() => ({ ...nothing, unread: ["serve-1"] })));
  await until(() => feed.view().link === "live", "a link");
  expect(feed.view()).toMatchObject({ trouble: null, unread: ["serve-1"] });
  feed.close();
});

test("R125 between connections requests fail, and the next gateway is not assumed to be in the same state", async () => {
  const ending = Promise.withResolvers<unknown>();
  const clients = [
    clientOf(
      () => ({ ...nothing, frozen: true }),
      () => ending.promise,
    ),
  ];
  const later = Promise.withResolvers<Client>();
  const feed = new Feed({ open: async () => clients.pop() ?? later.promise, retry: 1 });
  await until(() => feed.view().gateway?.frozen && feed.view().link === "live", "what the first one says");
  ending.resolve({ done: true });
  await until(() => feed.view().link === "lost", "the end of its link");
  expect(String(await reasonOf(feed.ask("status", {})))).toContain("the daemon is not reachable");
  later.resolve(clientOf((name) => (name === "status" ? silence : nothing)));
  await until(() => feed.view().link === "live", "another link");
  expect(feed.view().gateway).toBeNull();
  feed.close();
});
