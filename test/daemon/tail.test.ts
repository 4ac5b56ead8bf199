import { expect, test } from "bun:test";
import { setImmediate } from "node:timers/promises";
import type { Parsed } from "../../src/control/api.ts";
import type { Archive } from "../../src/daemon/archive.ts";
import { tail } from "../../src/daemon/handlers/tail.ts";
import { reasonOf } from "../support/failure.ts";
import { faultyStore, openBroker, runCall, tempState } from "../support/audit.ts";
import { archiveAt } from "../support/archive.ts";
import { contextOf } from "../support/context.ts";

/** Returns a log that is synced only by the test or a tail. */
async function quietLog() {
  const at = tempState();
  const faulty = faultyStore(at);
  const checkpointEvery = { interval: 3_600_000, records: 1e6 };
  const opened = await openBroker(at, { checkpointEvery }, { store: faulty.store, tick: 60_000 });
  const archive = archiveAt(at);
  const stop = new AbortController();
  const { broker } = opened;
  return {
    broker,
    faulty,
    archive,
    stop,
    /** Starts one reader, which runs until `stop`. */
    tail: (selection: Parsed<"tail"> = {}, from: Archive = archive) =>
      tail(broker, from, selection, contextOf("read", stop.signal)),
    /** Runs this many calls at once and waits until they are durable. */
    async run(calls: number) {
      await Promise.all(Array.from({ length: calls }, () => runCall(broker)));
      await broker.flush();
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      archive[Symbol.dispose]();
      await opened.close();
      at[Symbol.dispose]();
    },
  };
}

test.each([undefined, 0])(
  "R123 tail (since: %p) shows records that are not durable yet when it starts",
  async (since) => {
    await using log = await quietLog();
    const before = await runCall(log.broker);
    expect(log.broker.durable()).toBe(0);
    const entries = log.tail({ since });
    expect((await entries.next()).value).toMatchObject({ call: before.id, type: "call.end" });
    const after = entries.next();
    const second = await runCall(log.broker);
    await log.broker.flush();
    expect((await after).value).toMatchObject({ call: second.id, type: "call.end", seq: 4 });
    log.stop.abort();
    expect((await entries.next()).done).toBe(true);
  },
);

test.each([undefined, 0])(
  "R123 tail: records that arrive while past ones are shown (since: %p) are read from disk, so none is missed",
  async (since) => {
    await using log = await quietLog();
    const first = await runCall(log.broker);
    const entries = log.tail({ since });
    expect((await entries.next()).value).toMatchObject({ call: first.id });
    // 1,500 records, of which 1,000 are queued for a follower.
    await log.run(750);
    for (let seq = 4; seq <= 1502; seq += 2) expect((await entries.next()).value).toMatchObject({ type: "call.end" });
    const last = entries.next();
    await log.run(1);
    expect((await last).value).toMatchObject({ seq: 1504 });
  },
);

test("R123 tail shows the records after a given one, or new ones if the log has not reached it", async () => {
  await using log = await quietLog();
  const calls = [await runCall(log.broker), await runCall(log.broker)];
  await log.broker.flush();
  const entries = log.tail({ after: 2, since: 0 });
  expect((await entries.next()).value).toMatchObject({ call: calls[1]?.id, seq: 4 });
  const ahead = log.tail({ after: 900 });
  const next = [entries.next(), ahead.next()];
  await log.run(1);
  expect((await Promise.all(next)).map(({ value }) => value)).toMatchObject([{ seq: 6 }, { seq: 6 }]);
});

test("R123 tail ends when its reader leaves, even if the disk hangs", async () => {
  await using log = await quietLog();
  const held = Promise.withResolvers<void>();
  log.faulty.sync = (real) => held.promise.then(real);
  await runCall(log.broker);
  const first = log.tail().next();
  log.stop.abort();
  expect((await first).done).toBe(true);
  held.resolve();
});

test("R123 tail ends when its reader leaves before the next page of past records is read", async () => {
  await using log = await quietLog();
  await log.run(1);
  const entries = log.tail({ since: 0 });
  expect((await entries.next()).value).toMatchObject({ type: "call.end" });
  log.stop.abort();
  expect((await entries.next()).done).toBe(true);
});

test("T50 a reader beyond the maximum is refused even if the disk hangs, and earlier readers continue", async () => {
  await using log = await quietLog();
  const held = Promise.withResolvers<void>();
  const first = Array.from({ length: 48 }, () => log.tail().next());
  log.faulty.sync = (real) => held.promise.then(real);
  await runCall(log.broker);
  expect(String(await reasonOf(log.tail().next()))).toContain("48 of your readers already follow");
  held.resolve();
  await log.broker.flush();
  expect((await Promise.all(first)).map(({ value }) => value)).toEqual(
    first.map(() => expect.objectContaining({ type: "call.end" })),
  );
});

test("T50 a reader whose past records cannot be read frees its slot", async () => {
  await using log = await quietLog();
  const before = await runCall(log.broker);
  const broken = { ...log.archive, page: () => Promise.reject(new Error("unreadable")) };
  for (let i = 0; i < 65; i += 1) {
    expect(String(await reasonOf(log.tail({ since: 0 }, broken).next()))).toContain("unreadable");
  }
  const entries = log.tail({ since: 0 });
  expect((await entries.next()).value).toMatchObject({ call: before.id });
  await entries.return(undefined);
});

test("T50 a reader that is too slow is told how many records it missed", async () => {
  await using log = await quietLog();
  await log.run(1);
  const entries = log.tail();
  const first = entries.next();
  await log.run(750);
  const seen = [(await first).value];
  while (!seen.some((value) => value && "gap" in value)) seen.push((await entries.next()).value);
  // Of records 3 to 1,502, the first 1,000 are queued; begin records are left out.
  expect([seen.length - 1, seen.at(-2), seen.at(-1)]).toEqual([
    250,
    expect.objectContaining({ seq: 1002 }),
    { gap: 500 },
  ]);
});

test("R123 tail starts with the first record that was not durable, and shows later ones only once durable", async () => {
  await using log = await quietLog();
  const note = (revoked: number) =>
    log.broker.recordEvent({ type: "key.rebuilt", actor: "system", facts: { revoked, frozen: false, lost: 0 } });
  await note(1);
  await log.broker.flush();
  await note(2);
  const entries = log.tail();
  expect((await entries.next()).value).toMatchObject({ seq: 2 });
  await note(3);
  expect(log.broker.durable()).toBe(2);
  const durable = entries.next().then(({ value }) => [value, log.broker.durable()]);
  await setImmediate();
  await log.broker.flush();
  expect(await durable).toEqual([expect.objectContaining({ seq: 3 }), 3]);
});
