import { expect, test } from "bun:test";
import { createFeed } from "../../src/audit/feed.ts";
import { until } from "../support/until.ts";
import { runCall, openLog } from "../support/audit.ts";

test("R123 tail: readers get only durable records, and a slow reader gets the number it missed", async () => {
  // A checkpoint would add a record.
  await using opened = await openLog({ checkpointEvery: { interval: 3_600_000, records: 1_000_000 } });
  const stop = new AbortController();
  const seen: number[] = [];
  const slow = opened.broker.follow("local:0", stop.signal)[Symbol.asyncIterator]();
  const first = slow.next();
  const reading = (async () => {
    for await (const item of opened.broker.follow("local:0", stop.signal)) {
      if ("gap" in item) throw new Error("a fast reader missed something");
      expect(item.seq).toBeLessThanOrEqual(opened.broker.durable());
      seen.push(item.seq);
    }
  })();
  await runCall(opened.broker);
  await until(() => seen.length === 2, "two records");
  for (let round = 0; round < 3; round += 1) {
    await Promise.all(Array.from({ length: 250 }, () => runCall(opened.broker)));
    await until(() => seen.length === 2 + (round + 1) * 500, "the records of a round");
  }
  expect(await first).toMatchObject({ value: { seq: 1 } });
  const items: unknown[] = [];
  for (let i = 0; i < 1002; i += 1) items.push((await slow.next()).value);
  expect(items.at(-1)).toEqual({ gap: 500 });
  stop.abort();
  await reading;
  expect(await slow.next()).toMatchObject({ done: true });
  await opened.close();
});

test("tail: a reader beyond the limit gets an explanation, and no user can occupy all places", () => {
  const feed = createFeed();
  const { signal } = new AbortController();
  const own = Array.from({ length: 48 }, () => feed.follow("local:1000", signal));
  const refused = (user: string, words: string): void =>
    expect(() => feed.follow(user, signal)).toThrow(
      expect.objectContaining({ code: "overloaded", message: expect.stringContaining(words) }),
    );
  refused("local:1000", "48 of your readers already follow");
  for (let count = 0; count < 16; count++) feed.follow("local:0", signal);
  refused("local:0", "64 readers already follow");
  own[0]?.[Symbol.dispose]();
  feed.follow("local:0", signal);
});
