import { expect, test } from "bun:test";
import { getEventListeners, once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { createFeed } from "../../src/audit/feed.ts";
import type { Client } from "../../src/control/contract.ts";
import { Refusal } from "../../src/control/refusal.ts";
import { isObject } from "../../src/core/json.ts";
import { until } from "../support/until.ts";
import { entry } from "../support/control-answers.ts";
import { served } from "../support/control-server.ts";

const records = (count: number) => Array.from({ length: count }, (_, index) => entry({ seq: index + 1 }));

test("R123: events arrive in order and the stream ends with its source", async () => {
  using server = await served({
    async *tail() {
      yield* records(3);
    },
  });
  const client = await server.open();
  const seen: unknown[] = [];
  for await (const value of client.stream("tail", {})) seen.push("gap" in value ? value : value.seq);
  expect(seen).toEqual([1, 2, 3]);
});

test("leaving the loop cancels the stream at its source", async () => {
  let [aborted, ended] = [false, false];
  using server = await served({
    async *tail(_input, { signal }) {
      signal.addEventListener("abort", () => (aborted = true));
      try {
        for (;;) {
          yield entry({ seq: 1 });
          await Bun.sleep(1);
        }
      } finally {
        ended = true;
      }
    },
  });
  const client = await server.open();
  for await (const _ of client.stream("tail", {})) break;
  await until(() => aborted, "the handler's signal");
  await until(() => ended, "the source, which does not look at it");
  // Only the stream ends; the connection continues.
  expect((await client.call("status", {})).state).toBe("ready");
});

test("a stream that is aborted before or while it is read ends, and is cancelled at its source", async () => {
  let ended = 0;
  using server = await served({
    async *tail(_input, { signal }) {
      try {
        yield entry({ seq: 1 });
        if (!signal.aborted) await once(signal, "abort");
      } finally {
        ended += 1;
      }
    },
  });
  const client = await server.open();
  const controller = new AbortController();
  const seen: unknown[] = [];
  for (let round = 1; round <= 2; round++) {
    for await (const value of client.stream("tail", {}, controller.signal)) {
      seen.push(value);
      queueMicrotask(() => controller.abort());
    }
    await until(() => ended === round, "the end of the source");
  }
  expect(seen).toHaveLength(1);
});

test("R123: events and the end that arrive while a reader is busy are delivered when it continues, even after an abort", async () => {
  for (const aborts of [false, true]) {
    const more = Promise.withResolvers<void>();
    using server = await served({
      async *tail(_input, { signal }) {
        yield entry({ seq: 1 });
        await more.promise;
        yield* records(3).slice(1);
        if (aborts && !signal.aborted) await once(signal, "abort");
      },
    });
    const client = await server.open();
    const controller = new AbortController();
    const seen: unknown[] = [];
    for await (const value of client.stream("tail", {}, controller.signal)) {
      seen.push("gap" in value ? value : value.seq);
      if (seen.length > 1) continue;
      if (aborts) controller.abort();
      more.resolve();
      // By then all events have arrived.
      await client.call("status", {});
    }
    expect(seen).toEqual([1, 2, 3]);
    expect(getEventListeners(controller.signal, "abort")).toEqual([]);
    client.close();
  }
});

test("R123: a stream whose source fails or whose server goes away ends with an error, never as if it were complete", async () => {
  const server = await served({
    async *tail(_input, { signal }) {
      yield entry({ seq: 1 });
      await once(signal, "abort");
    },
    async *"servers.follow"() {
      yield { line: "one" };
      throw new Refusal("unavailable", "no more lines");
    },
  });
  const client = await server.open();
  const read = async (stream: AsyncIterable<unknown>): Promise<void> => {
    for await (const value of stream) if (isObject(value) && "seq" in value) server[Symbol.dispose]();
  };
  expect(await read(client.stream("servers.follow", { id: "a" })).catch(String)).toContain("no more lines");
  expect(await read(client.stream("tail", {})).catch(String)).toContain("the daemon closed the connection");
});

test("T50: a reader that pauses is told how much it missed, and its queue is bounded until then", async () => {
  const total = 5_000;
  const feed = createFeed();
  let taken = 0;
  using server = await served({
    async *tail(_input, { signal }) {
      for await (const item of feed.follow("local:0", signal)) {
        taken++;
        yield "gap" in item ? item : entry({ seq: item.seq, reason: "x".repeat(2_000) });
      }
    },
  });
  const client = await server.open();
  const stream = client.stream("tail", {})[Symbol.asyncIterator]();
  const next = async () => {
    const { value } = await stream.next();
    return value ?? expect.unreachable("the stream ended");
  };
  const first = next();
  await until(() => feed.followed, "the stream");
  for (let seq = 1; seq <= total; seq++) {
    feed.publish(seq, "");
    // Lets the stream read and send what it can.
    if (seq % 50 === 0) await setImmediate();
  }
  // What the client and the kernel buffer.
  expect(taken).toBeLessThan(3_000);
  expect(await first).toMatchObject({ seq: 1 });
  let [shown, missed] = [1, 0];
  while (shown + missed < total) {
    const value = await next();
    if ("gap" in value) missed += value.gap;
    else expect(value.seq).toBe(++shown + missed);
  }
  expect(missed).toBeGreaterThan(0);
  feed.publish(total + 1, "");
  expect(await next()).toMatchObject({ seq: total + 1 });
  client.close();
  await until(() => !feed.followed, "the stream's end");
});

test("T50: a reader that pauses and then leaves frees its place, although it has not received everything", async () => {
  const feed = createFeed();
  using server = await served({
    async *tail(_input, { signal }) {
      const live = feed.follow("local:0", signal)[Symbol.asyncIterator]();
      // Like the daemon, this requests the next event before the current one is shown.
      for (let next = live.next(); ;) {
        const { done, value } = await next;
        if (done) return;
        next = live.next();
        yield "gap" in value ? value : entry({ seq: value.seq, reason: "x".repeat(2_000) });
      }
    },
  });
  const client = await server.open();
  const stream = client.stream("tail", {})[Symbol.asyncIterator]();
  const first = stream.next();
  await until(() => feed.followed, "the stream");
  for (let seq = 1; seq <= 2_000; seq++) {
    feed.publish(seq, "");
    if (seq % 50 === 0) await setImmediate();
  }
  await first;
  client.close();
  await until(() => !feed.followed, "the place to be free");
});

/** Waits until a number stays the same while this client gets many answers. */
async function standsStill(client: Client, read: () => number): Promise<void> {
  for (let still = 0; still < 20;) {
    const before = read();
    await client.call("status", {});
    still = before === read() ? still + 1 : 0;
  }
}

test("a connection continues after a stream that was left with many events queued", async () => {
  let produced = 0;
  using server = await served({
    async *tail() {
      for (; produced < 5_000; produced++) yield entry({ seq: produced + 1, reason: "x".repeat(2_000) });
    },
  });
  const client = await server.open();
  const other = await server.open();
  for await (const _ of client.stream("tail", {})) {
    await standsStill(other, () => produced);
    break;
  }
  expect((await client.call("status", {})).state).toBe("ready");
});

test("an export waits for its reader and loses nothing", async () => {
  let produced = 0;
  const run = async function* () {
    for (; produced < 3_000; produced++) yield `${produced} ${"x".repeat(2_000)}`;
  };
  using server = await served({ "audit.export": () => ({ facts: { chains: "main" }, run }) });
  const client = await server.open();
  const other = await server.open();
  const seen: unknown[] = [];
  for await (const line of client.stream("audit.export", {})) {
    if (typeof line !== "string") throw new Error("an export has no gaps");
    if (seen.length === 1) {
      await standsStill(other, () => produced);
      expect(produced).toBeLessThan(3_000);
    }
    seen.push(Number(line.split(" ")[0]));
  }
  expect(seen).toEqual(Array.from({ length: 3_000 }, (_, index) => index));
});
