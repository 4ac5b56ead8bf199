import { expect, setDefaultTimeout, test } from "bun:test";
import { isDeepStrictEqual } from "node:util";
import { silent } from "../../src/core/log.ts";
import { StoreFailed } from "../../src/core/store.ts";
import { until } from "../support/until.ts";
import { reasonOf } from "../support/failure.ts";
import { answered, callOf, faultyStore, openBroker, recordsOf, tempState, openLog } from "../support/audit.ts";

setDefaultTimeout(30_000);

test("T20: the backlog of acts is bounded; acts beyond the bound are counted", async () => {
  const lost: unknown[] = [];
  const log = { ...silent, error: (_message: string, facts: unknown) => void lost.push(facts) };
  await using opened = await openLog({}, { log });
  opened.faulty.full = new StoreFailed("disk full");
  const act = { type: "key.revoked", actor: "local:0", facts: { key: "k", uid: 0, gid: 0, pid: 1 } } as const;
  await Promise.all(Array.from({ length: 10_003 }, () => opened.broker.recordDone(act)));
  expect(opened.broker.health()).toMatchObject({ backlog: 10_000, unrecorded: 3 });
  expect(lost.filter((facts) => isDeepStrictEqual(facts, { type: "key.revoked" }))).toHaveLength(3);
  opened.faulty.full = null;
  await until(() => opened.broker.health().backlog === 0 && opened.broker.health().ok, "all of them on record");
});

test("P5: an act in the backlog is recorded on close, although the log accepted no records before", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  const opened = await openBroker(at, {}, { store: faulty.store, tick: 60_000 });
  faulty.full = new StoreFailed("disk full");
  const act = { type: "key.revoked", actor: "local:0", facts: { key: "k", uid: 0, gid: 0, pid: 1 } } as const;
  expect(await opened.broker.recordDone(act)).toBe(false);
  expect(opened.broker.health()).toMatchObject({ ok: false, backlog: 1, records: 0 });
  // Each further act triggers an attempt to record the waiting ones.
  expect(await opened.broker.recordDone({ ...act, type: "key.frozen", facts: { uid: 0, gid: 0, pid: 1 } })).toBe(false);
  expect(opened.broker.health()).toMatchObject({ backlog: 2 });
  faulty.full = null;
  await opened.close();
  expect(
    recordsOf(at)
      .map(({ type }) => type)
      .slice(0, 2),
  ).toEqual(["key.revoked", "key.frozen"]);
});

test.each(["recordEvent", "recordDone"] as const)(
  "P5: an act in the backlog is recorded before a later one, recorded by %s",
  async (record) => {
    await using opened = await openLog({}, { tick: 60_000 });
    const by = { actor: "local:0", facts: { uid: 0, gid: 0, pid: 1 } } as const;
    opened.faulty.full = new StoreFailed("disk full");
    expect(await opened.broker.recordDone({ ...by, type: "key.frozen" })).toBe(false);
    opened.faulty.full = null;
    await opened.broker[record]({ ...by, type: "key.unfrozen" });
    await opened.close();
    const acts = recordsOf(opened).filter(({ type }) => type.startsWith("key."));
    expect(acts.map(({ type }) => type)).toEqual(["key.frozen", "key.unfrozen"]);
  },
);

test("P3: an ending that cannot be recorded is retried until it is, and then its call is over", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  const settled: number[] = [];
  let left = 3;
  const store: typeof faulty.store = {
    ...faulty.store,
    append(rows, subjects) {
      if (rows.some(({ rec }) => rec.includes("call.lost")) && left-- > 0) throw new StoreFailed("disk full");
      faulty.store.append(rows, subjects);
    },
    saveAnchor: (anchor) => (settled.push(anchor.settled), faulty.store.saveAnchor(anchor)),
  };
  await using opened = await openBroker(at, {}, { store });
  const call = callOf();
  await opened.broker.begin(call);
  faulty.full = new StoreFailed("disk full");
  expect(await reasonOf(opened.broker.end(answered(call)))).toMatchObject({ code: "audit-unavailable" });
  faulty.full = null;
  await until(() => left < 0 && opened.broker.health().ok, "its ending is on record");
  await opened.broker.checkpoint();
  expect(settled.at(-1)).toBe(opened.broker.health().records);
});

test("T20: the backlog of endings is bounded", async () => {
  using at = tempState();
  const faulty = faultyStore(at);
  const calls = Array.from({ length: 10_003 }, () => callOf());
  {
    await using opened = await openBroker(at, {}, { store: faulty.store });
    // The log accepts this many at once.
    for (let from = 0; from < calls.length; from += 1000) {
      await Promise.all(calls.slice(from, from + 1000).map((call) => opened.broker.begin(call)));
    }
    faulty.full = new StoreFailed("disk full");
    await Promise.allSettled(calls.map((call) => opened.broker.end(answered(call))));
    faulty.full = null;
    await until(() => opened.broker.health().records >= 20_003, "the endings that were kept");
  }
  expect(recordsOf(at).filter(({ type }) => type === "call.lost")).toHaveLength(10_000);
});
