import { expect, test } from "bun:test";
import { setImmediate } from "node:timers/promises";
import { tail } from "../../src/daemon/handlers/tail.ts";
import { reasonOf } from "../support/failure.ts";
import { faultyStore, openBroker, runCall, tempState } from "../support/audit.ts";
import { archiveAt } from "../support/archive.ts";

for (const since of [undefined, 0]) {
  test(`R123 tail${since === undefined ? "" : " --since"} shows what is not durable yet when it begins`, async () => {
    using at = tempState();
    const faulty = faultyStore(at);
    // Nothing but the tail asks for a sync.
    await using opened = await openBroker(at, {}, { store: faulty.store, tick: 60_000 });
    const before = await runCall(opened.broker);
    expect(opened.broker.durable()).toBe(0);
    using archive = archiveAt(at);
    const stop = new AbortController();
    const entries = tail(opened.broker, archive, { since }, stop.signal);
    expect((await entries.next()).value).toMatchObject({ call: before.id, type: "call.end" });
    const after = entries.next();
    const second = await runCall(opened.broker);
    await opened.broker.flush();
    expect((await after).value).toMatchObject({ call: second.id, type: "call.end", seq: 4 });
    stop.abort();
    expect((await entries.next()).done).toBe(true);
  });
}

test.each([undefined, 0])(
  "R123 tail: what comes while past records are shown (since: %p) is not missed, as it is read from disk",
  async (since) => {
    using at = tempState();
    // Only `run` makes records durable, so that all of them become so at once.
    await using opened = await openBroker(
      at,
      { checkpointEvery: { interval: 3_600_000, records: 1e6 } },
      { tick: 6e4 },
    );
    const first = await runCall(opened.broker);
    using archive = archiveAt(at);
    const stop = new AbortController();
    const entries = tail(opened.broker, archive, { since }, stop.signal);
    expect((await entries.next()).value).toMatchObject({ call: first.id });
    const run = async (calls: number) => {
      await Promise.all(Array.from({ length: calls }, () => runCall(opened.broker)));
      await opened.broker.flush();
    };
    // 1,500 records, of which 1,000 wait for a follower.
    await run(750);
    for (let seq = 4; seq <= 1502; seq += 2) expect((await entries.next()).value).toMatchObject({ type: "call.end" });
    const last = entries.next();
    await run(1);
    expect((await last).value).toMatchObject({ seq: 1504 });
    stop.abort();
    expect((await entries.next()).done).toBe(true);
  },
);

test("R123 tail shows what follows a record, and of a log that has no such record yet what comes", async () => {
  using at = tempState();
  await using opened = await openBroker(at, {}, { tick: 60_000 });
  const calls = [await runCall(opened.broker), await runCall(opened.broker)];
  await opened.broker.flush();
  using archive = archiveAt(at);
  const stop = new AbortController();
  const entries = tail(opened.broker, archive, { after: 2, since: 0 }, stop.signal);
  expect((await entries.next()).value).toMatchObject({ call: calls[1]?.id, seq: 4 });
  const ahead = tail(opened.broker, archive, { after: 900 }, stop.signal);
  const next = [entries.next(), ahead.next()];
  await runCall(opened.broker);
  await opened.broker.flush();
  expect((await Promise.all(next)).map(({ value }) => value)).toMatchObject([{ seq: 6 }, { seq: 6 }]);
  stop.abort();
});

test("R123 tail ends when its reader leaves, though the disk hangs", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  await using opened = await openBroker(at, {}, { store: faulty.store, tick: 60_000 });
  const held = Promise.withResolvers<void>();
  faulty.sync = (real) => held.promise.then(real);
  await runCall(opened.broker);
  using archive = archiveAt(at);
  const stop = new AbortController();
  const first = tail(opened.broker, archive, {}, stop.signal).next();
  stop.abort();
  expect((await first).done).toBe(true);
  held.resolve();
});

test("T50 a reader beyond the most that may follow is refused, though the disk hangs, and those before it go on", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  await using opened = await openBroker(at, {}, { store: faulty.store, tick: 60_000 });
  const held = Promise.withResolvers<void>();
  using archive = archiveAt(at);
  const stops = Array.from({ length: 64 }, () => new AbortController());
  const first = stops.map(({ signal }) => tail(opened.broker, archive, {}, signal).next());
  faulty.sync = (real) => held.promise.then(real);
  await runCall(opened.broker);
  const beyond = tail(opened.broker, archive, {}, new AbortController().signal).next();
  expect(String(await reasonOf(beyond))).toContain("64 readers follow");
  held.resolve();
  await opened.broker.flush();
  expect((await Promise.all(first)).map(({ value }) => value)).toEqual(
    first.map(() => expect.objectContaining({ type: "call.end" })),
  );
  for (const stop of stops) stop.abort();
});

test("T50 a reader whose past cannot be read gives its place back", async () => {
  using at = tempState();
  await using opened = await openBroker(at, {}, { tick: 60_000 });
  const before = await runCall(opened.broker);
  using archive = archiveAt(at);
  const broken = { ...archive, page: () => Promise.reject(new Error("unreadable")) };
  const { signal } = new AbortController();
  for (let i = 0; i < 65; i += 1) {
    expect(String(await reasonOf(tail(opened.broker, broken, { since: 0 }, signal).next()))).toContain("unreadable");
  }
  const entries = tail(opened.broker, archive, { since: 0 }, signal);
  expect((await entries.next()).value).toMatchObject({ call: before.id });
  await entries.return(undefined);
});

test("T50 a reader of what comes is told how many records it was too slow for", async () => {
  using at = tempState();
  await using opened = await openBroker(at, { checkpointEvery: { interval: 3_600_000, records: 1e6 } }, { tick: 6e4 });
  await runCall(opened.broker);
  await opened.broker.flush();
  using archive = archiveAt(at);
  const stop = new AbortController();
  const entries = tail(opened.broker, archive, {}, stop.signal);
  const first = entries.next();
  await Promise.all(Array.from({ length: 750 }, () => runCall(opened.broker)));
  await opened.broker.flush();
  const seen = [(await first).value];
  while (!seen.some((value) => value && "gap" in value)) seen.push((await entries.next()).value);
  // Of records 3 to 1,502 the first 1,000 wait for it; those of begins are left out.
  expect([seen.length - 1, seen.at(-2), seen.at(-1)]).toEqual([
    250,
    expect.objectContaining({ seq: 1002 }),
    { gap: 500 },
  ]);
  stop.abort();
});

test("R123 tail begins with the first record that was not durable, and shows no later one before it is", async () => {
  using at = tempState();
  await using opened = await openBroker(at, {}, { tick: 60_000 });
  const note = (revoked: number) =>
    opened.broker.recordEvent({ type: "key.rebuilt", actor: "system", facts: { revoked, frozen: false, lost: 0 } });
  await note(1);
  await opened.broker.flush();
  await note(2);
  using archive = archiveAt(at);
  const stop = new AbortController();
  const entries = tail(opened.broker, archive, {}, stop.signal);
  expect((await entries.next()).value).toMatchObject({ seq: 2 });
  await note(3);
  expect(opened.broker.durable()).toBe(2);
  const durable = entries.next().then(({ value }) => [value, opened.broker.durable()]);
  await setImmediate();
  await opened.broker.flush();
  expect(await durable).toEqual([expect.objectContaining({ seq: 3 }), 3]);
  stop.abort();
});
