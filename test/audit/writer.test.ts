import { expect, test } from "bun:test";
import type { Draft } from "../../src/audit/draft.ts";
import { readRecord } from "../../src/audit/record.ts";
import { Writer } from "../../src/audit/writer.ts";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { maxNameLength } from "../../src/core/name.ts";
import { type AuditStore, StoreFailed, StoreUnsynced, type SubjectRow } from "../../src/core/store.ts";
import { openChain } from "../../src/store/sqlite/chain.ts";
import { codeOf } from "../support/failure.ts";
import { until } from "../support/until.ts";
import {
  answered,
  callOf,
  faultyStore,
  handClock,
  openBroker,
  outsideOf,
  runCall,
  tempState,
  verifyAt,
  note,
  openLog,
} from "../support/audit.ts";

/** A disk whose syncs end in order, when the test says so. */
function heldSyncs(faulty: ReturnType<typeof faultyStore>) {
  const held: PromiseWithResolvers<void>[] = [];
  faulty.sync = (real) => {
    const one = Promise.withResolvers<void>();
    held.push(one);
    return one.promise.then(real);
  };
  return held;
}

const writerOn = (store: AuditStore, clock: Clock = systemClock) =>
  new Writer({
    store,
    stamp: { chain: "main", boot: "b", node: "n", ver: "1" },
    start: { seq: 0, leaf: new Uint8Array(32) },
    clock,
    subjects: [],
    keepText: () => false,
    onDurable: () => {},
    fatal: (reason) => expect.unreachable(reason),
  });

test("D6 P1: a record committed during a sync becomes durable only with the next sync", async () => {
  await using opened = await openLog({ durability: "strict" }, { tick: 60_000 });
  const held = heldSyncs(opened.faulty);
  const first = opened.broker.begin(callOf());
  await until(() => held.length === 1, "the first sync");
  let begun = false;
  const late = opened.broker.begin(callOf()).then(() => (begun = true));
  await until(() => opened.broker.health().records === 2, "it is committed");
  held[0]?.resolve();
  await first;
  await until(() => held.length === 2, "the second sync");
  expect([begun, opened.broker.durable()]).toEqual([false, 1]);
  held[1]?.resolve();
  await late;
  expect(opened.broker.durable()).toBe(2);
  opened.faulty.sync = null;
  // A checkpoint signs the records in order, however they became durable.
  await runCall(opened.broker);
  await opened.close();
  expect(await verifyAt({ ...opened, dir: outsideOf(opened) })).toMatchObject({ exit: 0, bad: null });
});

test("D6 a commit that may not be on the disk ends the process, and nothing is recorded after it", async () => {
  using at = tempState();
  const fatal: string[] = [];
  const faulty = faultyStore(at);
  const options = { store: faulty.store, fatal: (reason: string) => void fatal.push(reason) };
  const opened = await openBroker(at, {}, options);
  faulty.full = new StoreUnsynced("EIO");
  expect(await codeOf(opened.broker.begin(callOf()))).toBe("audit-unavailable");
  faulty.full = null;
  expect(await codeOf(opened.broker.begin(callOf()))).toBe("audit-unavailable");
  expect([fatal, opened.broker.health().ok]).toEqual([["EIO"], false]);
  await opened.close();
});

/** A writer on such a disk, and its clock; `wait` records one record that waits for the sync of this number. */
function onHeldDisk(at: ReturnType<typeof tempState>) {
  const clock = handClock();
  const faulty = faultyStore(at);
  const held = heldSyncs(faulty);
  const writer = writerOn(faulty.store, clock);
  const draft: Draft = { fields: { type: "call.refused", at: 0, mono: 0 }, payload: null };
  const wait = async (sync: number) => {
    const ended = writer.record(draft, "sync").then(() => "recorded", String);
    await until(() => held.length === sync, "its sync");
    return { ended, answer: () => held[sync - 1]?.resolve() };
  };
  const tick = (us: number): void => {
    clock.advance(us);
    writer.tick();
  };
  return { writer, wait, tick, [Symbol.dispose]: () => faulty.store[Symbol.dispose]() };
}

test("D6 a disk is not considered hung while the whole process stood still, but is after that", async () => {
  using at = tempState();
  using disk = onHeldDisk(at);
  const { writer, wait, tick } = disk;
  const first = await wait(1);
  tick(40_000_000);
  expect(writer.failing).toBeNull();
  first.answer();
  expect(await first.ended).toBe("recorded");
  const second = await wait(2);
  for (let ticks = 0; ticks < 6; ticks++) tick(1_000_000);
  expect([writer.failing, await second.ended]).toEqual([
    "the disk does not answer",
    expect.stringContaining("Unrecorded"),
  ]);
  second.answer();
  await until(() => writer.failing === null, "the end of the sync");
});

test("D6 a disk is considered hung even if the process stands still repeatedly", async () => {
  using at = tempState();
  using disk = onHeldDisk(at);
  const { writer, wait, tick } = disk;
  const { ended, answer } = await wait(1);
  for (let ticks = 0; ticks < 2; ticks++) tick(3_000_000);
  expect([writer.failing, await ended]).toEqual(["the disk does not answer", expect.stringContaining("Unrecorded")]);
  answer();
  await until(() => writer.failing === null, "the end of the sync");
});

test("P5: when a commit fails, every waiting call fails, however many there are", async () => {
  await using opened = await openLog({}, { tick: 60_000 });
  // While one call runs, others wait for each other.
  await opened.broker.begin(callOf());
  opened.faulty.full = new StoreFailed("disk full");
  const codes = await Promise.all(Array.from({ length: 1_200 }, () => codeOf(opened.broker.begin(callOf()))));
  expect(new Set(codes)).toEqual(new Set(["audit-unavailable"]));
  opened.faulty.full = null;
});

test("D6 only a record that cannot be encoded is refused: those with it and after it are recorded", async () => {
  using at = tempState();
  using store = openChain(at.db());
  const writer = writerOn(store);
  const recorded = (us: number): Promise<string> =>
    writer.record({ fields: { type: "call.refused", at: 0, mono: 0, us }, payload: null }, "commit").then(
      () => `${us} is recorded`,
      ({ message }: Error) => message,
    );
  // All in one turn of the event loop, so that they form one commit.
  expect(await Promise.all([1, NaN, 2, NaN].map(recorded))).toEqual([
    "1 is recorded",
    "NaN is not a safe integer",
    "2 is recorded",
    "NaN is not a safe integer",
  ]);
  const alone = new Promise<string>((resolve) => {
    const fields = { type: "call.refused", at: 0, mono: 0, us: NaN } as const;
    const waiter = { done: () => resolve(""), failed: ({ message }: Error) => resolve(message) };
    writer.add({ fields, payload: null }, "commit", waiter, true);
  });
  expect([await alone, writer.failing, await recorded(3)]).toEqual([
    "NaN is not a safe integer",
    null,
    "3 is recorded",
  ]);
  expect(store.page(1, 9).map(({ seq }) => seq)).toEqual([1, 2, 3]);
  await writer.drain();
});

test("D6: a call whose outcome cannot be encoded is recorded as lost", async () => {
  let fails = false;
  const secrets = (): string[] => {
    if (fails) throw new Error("the secrets cannot be read");
    return [];
  };
  await using opened = await openLog({ payloads: "redacted" }, { secrets });
  const call = callOf();
  await opened.broker.begin(call);
  fails = true;
  expect(() => opened.broker.end(answered(call))).toThrow("the secrets cannot be read");
  fails = false;
  await until(() => opened.broker.health().records === 2, "its end is recorded");
  expect(readRecord(opened.store.page(2, 1)[0]?.rec ?? "{}")).toMatchObject({ type: "call.lost", ref: 1, st: "lost" });
});

test("records are refused at once when the queue holds its maximum number of them", async () => {
  await using opened = await openLog({ payloads: "none" });
  const codes = await Promise.all(Array.from({ length: 10_003 }, () => codeOf(opened.broker.recordEvent(note))));
  expect(codes.filter((code) => code !== "recorded")).toEqual(Array.from({ length: 3 }, () => "audit-unavailable"));
});

test("R8 the queue is bounded in bytes, including those of long URIs", async () => {
  using at = tempState();
  using store = openChain(at.db());
  const writer = writerOn(store);
  const tool = "x".repeat(maxNameLength);
  const draft: Draft = { fields: { type: "call.refused", at: 0, mono: 0, tool }, payload: null };
  const refusals: string[] = [];
  // All in one turn of the event loop, so that nothing is committed in between.
  const waiter = { done: () => {}, failed: ({ message }: Error) => void refusals.push(message) };
  for (let count = 0; count < 3000; count += 1) writer.add(draft, "commit", waiter);
  expect(new Set(refusals)).toEqual(new Set(["the audit queue is full"]));
  expect((3000 - refusals.length) * maxNameLength).toBeLessThan(16 << 20);
  await writer.drain();
});

test("the value of a pseudonym is stored once, and again if that failed", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  const stored: SubjectRow[][] = [];
  const append: typeof faulty.store.append = (rows, subjects) => {
    stored.push([...(subjects ?? [])]);
    faulty.store.append(rows, subjects);
  };
  await using opened = await openBroker(at, {}, { store: { ...faulty.store, append }, tick: 60_000 });
  faulty.full = new StoreFailed("disk full");
  expect(await codeOf(opened.broker.begin(callOf({ ip: "192.0.2.7" })))).toBe("audit-unavailable");
  faulty.full = null;
  await runCall(opened.broker, { ip: "192.0.2.7" });
  expect(stored.map((subjects) => subjects.map(({ value }) => value))).toEqual([["192.0.2.7"], ["192.0.2.7"], []]);
});

test("D6 onFailure allow: a call held up by a hung disk runs and does not count as unrecorded, since its record is in the log", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  let [offset, asked] = [0, 0];
  const clock = {
    now: () => Date.now() * 1000,
    mono: () => (asked++, Math.round(performance.now() * 1000) + offset),
  };
  const options = { durability: "strict", onFailure: "allow" } as const;
  await using opened = await openBroker(at, options, { store: faulty.store, clock });
  const held = heldSyncs(faulty);
  const call = callOf();
  const begun = opened.broker.begin(call);
  await until(() => held.length > 0, "a sync");
  offset = 6_000_000;
  await begun;
  const before = asked;
  await until(() => asked > before + 20, "some more rounds of the broker");
  expect([call.begun, opened.broker.health().unrecorded]).toEqual([true, 0]);
  faulty.sync = null;
  for (const one of held) one.resolve();
  await until(() => opened.broker.health().ok, "recovery");
  await opened.broker.end(answered(call));
});

test("P3: a checkpoint stores the record below which every call has ended, so that a start searches no further back", async () => {
  using at = tempState();
  const { store } = faultyStore(at);
  const settled: number[] = [];
  const saveAnchor: typeof store.saveAnchor = (anchor) => (settled.push(anchor.settled), store.saveAnchor(anchor));
  const more = { store: { ...store, saveAnchor }, tick: 60_000 };
  await using opened = await openBroker(at, {}, more);
  await runCall(opened.broker);
  const running = callOf();
  await opened.broker.begin(running);
  await runCall(opened.broker);
  await opened.broker.checkpoint();
  await opened.broker.end(answered(running));
  await opened.broker.checkpoint();
  expect(settled).toEqual([3, 8]);
});
