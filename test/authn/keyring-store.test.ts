import { expect, jest, test } from "bun:test";
import { Keyring } from "../../src/authn/keyring.ts";
import { keyOptions } from "../../src/authn/options.ts";
import { newKey } from "../../src/authn/new-key.ts";
import { systemClock } from "../../src/core/clock.ts";
import { hashKey } from "../../src/core/key-hash.ts";
import { lossOf } from "../../src/core/principal.ts";
import { type KeyStore, StoreBusy, StoreFailed } from "../../src/core/store.ts";
import { keyRequest, memoryKeyStore } from "../support/key-store.ts";
import { until } from "../support/until.ts";

const on = (store: KeyStore): Keyring => new Keyring({ store, clock: systemClock });
const request = keyRequest();
const fails = (): never => {
  throw new StoreFailed("disk full");
};

test("R23: a key that could not be stored does not exist; an unfreeze that could not be stored has no effect", () => {
  const store = memoryKeyStore();
  using ring = on({ ...store, addKey: fails, setFrozen: (frozen) => (frozen ? store.setFrozen(true) : fails()) });
  expect(() => ring.create(request)).toThrow("disk full");
  expect(ring.list()).toEqual([]);
  ring.freeze();
  expect(() => ring.unfreeze()).toThrow("disk full");
  expect(ring.frozen).toBe(true);
});

test("R23: a change by another process while the keys are first read is not missed", () => {
  const store = memoryKeyStore();
  const key = newKey().key;
  let late = (): void => store.addTombstone("k1", 1);
  const raced = {
    ...store,
    tombstones() {
      const before = store.tombstones();
      late();
      late = () => {};
      return before;
    },
  };
  using ring = on(raced);
  ring.apply(ring.prepare([keyOptions.parse({ id: "k1", key, consumerId: "agent", roles: ["reader"] })]));
  ring.refresh();
  expect(ring.list().map(({ state }) => state)).toEqual(["revoked"]);
});

test("R23: a change that a refresh could not read is read by the next refresh", () => {
  const store = memoryKeyStore();
  let broken = false;
  using here = on({ ...store, keys: () => (broken ? fails() : store.keys()) });
  using there = on(store);
  there.create(request);
  broken = true;
  expect(() => here.refresh()).toThrow("disk full");
  broken = false;
  here.refresh();
  expect(here.list()).toHaveLength(1);
});

test("R23: refreshes read the keys once for each change of the store", () => {
  const store = memoryKeyStore();
  let reads = 0;
  using here = on({ ...store, keys: () => (reads++, store.keys()) });
  using there = on(store);
  there.create(request);
  for (let i = 0; i < 3; i++) here.refresh();
  expect([reads, here.list().length]).toEqual([2, 1]);
});

test("R23: each key ends at its own expiry, and a key without an expiry never ends", async () => {
  using ring = on(memoryKeyStore());
  const now = Date.now();
  const [first, second, last, none] = [60, 120, 3_600_000, null].map((ms) => {
    const { key } = ring.create({ ...request, expiresAt: ms && now + ms });
    const entry = ring.find(hashKey(key));
    return entry && ring.principal(entry).revoked;
  });
  await until(() => first?.aborted, "the first ends");
  expect([last?.aborted, none?.aborted]).toEqual([false, false]);
  await until(() => second?.aborted, "the second ends");
  expect([last?.aborted, none?.aborted]).toEqual([false, false]);
});

test("a disposed keyring leaves no timer behind", () => {
  jest.useFakeTimers();
  try {
    const store = memoryKeyStore();
    const ring = on({ ...store, revokeKey: fails });
    const { key, id } = ring.create({ ...request, expiresAt: Date.now() + 3_600_000 });
    const entry = ring.find(hashKey(key));
    if (entry) ring.principal(entry);
    ring.revoke(id);
    expect(jest.getTimerCount()).toBe(3);
    ring[Symbol.dispose]();
    expect(jest.getTimerCount()).toBe(0);
  } finally {
    jest.useRealTimers();
  }
});

test("R23: a change that fails because the store is busy, or fails twice, is stored as soon as possible", () => {
  jest.useFakeTimers();
  try {
    const store = memoryKeyStore();
    let why: Error | null = null;
    const flaky = {
      ...store,
      revokeKey(id: string, at: number) {
        if (why) throw why;
        store.revokeKey(id, at);
      },
    };
    using ring = on(flaky);
    for (const reason of [new StoreBusy("locked"), new StoreFailed("disk full"), new StoreBusy("locked")]) {
      const { id } = ring.create(request);
      why = reason;
      ring.revoke(id);
      expect(ring.saved).toBe(false);
      why = null;
      jest.advanceTimersByTime(1_000);
      expect([ring.saved, store.keys().find((key) => key.id === id)?.revokedAt === null]).toEqual([true, false]);
    }
  } finally {
    jest.useRealTimers();
  }
});

test("R23: while another process locks the store, retries of changes leave most of the time to calls", async () => {
  const store = memoryKeyStore();
  const tries: number[] = [];
  let isHeld = true;
  const held = {
    ...store,
    revokeKey(id: string, at: number) {
      if (!isHeld) return store.revokeKey(id, at);
      Bun.sleepSync(50);
      tries.push(performance.now());
      throw new StoreBusy("locked");
    },
  };
  using ring = on(held);
  const ids = Array.from({ length: 3 }, () => ring.create(request).id);
  for (const id of ids) ring.revoke(id);
  await until(() => tries.length === 5, "two more attempts");
  const [first = 0, second = 0] = tries.slice(3);
  expect(second - first).toBeGreaterThan(400);
  isHeld = false;
  await until(() => ring.saved, "all is stored");
  expect(store.keys().filter(({ revokedAt }) => revokedAt === null)).toEqual([]);
});

test("new roles of anonymous callers that arrive during a freeze take effect only when the freeze ends", () => {
  using ring = on(memoryKeyStore());
  ring.freeze();
  ring.apply(ring.prepare([], ["reader"]));
  expect([ring.changedSignal().aborted, lossOf(ring.changedSignal())]).toEqual([true, "frozen"]);
  ring.unfreeze();
  expect(ring.changedSignal().aborted).toBe(false);
});
