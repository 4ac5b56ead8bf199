import { afterEach, expect, jest, test } from "bun:test";
import { Keyring } from "../../src/authn/keyring.ts";
import { newKey } from "../../src/authn/new-key.ts";
import { Uses } from "../../src/authn/uses.ts";
import { keyOptions } from "../../src/authn/options.ts";
import { hashKey } from "../../src/core/key-hash.ts";
import { keyRequest, memoryKeyStore } from "../support/key-store.ts";
import { stillClock } from "../support/principal.ts";

afterEach(() => void jest.useRealTimers());

test("a key's last use is listed at once, and stored outside of calls, at most once an hour and at shutdown", () => {
  jest.useFakeTimers();
  const clock = stillClock();
  const store = memoryKeyStore();
  const writes: (readonly [string, number][])[] = [];
  let full = false;
  const { saveUses } = store;
  store.saveUses = (uses) => {
    if (full) throw new Error("the disk is full");
    writes.push([...uses]);
    saveUses(uses);
  };
  using ring = new Keyring({ store, clock });
  const [used, unused] = [ring.create(keyRequest()), ring.create(keyRequest())];
  const at = (of = ring) => of.lastUses().get(used.id);
  const use = (): number => {
    const entry = ring.find(hashKey(used.key));
    if (entry) ring.principal(entry);
    return Math.floor(clock.now() / 1000);
  };
  expect(at()).toBeUndefined();
  const first = use();
  expect([at(), writes.length]).toEqual([first, 0]);
  full = true;
  jest.advanceTimersByTime(60_000);
  full = false;
  clock.advance(1_000);
  const second = use();
  jest.advanceTimersByTime(60_000);
  expect(writes).toEqual([[[used.id, second]]]);
  clock.advance(1_800_000);
  const third = use();
  jest.advanceTimersByTime(3_600_000);
  expect([at(), writes.length]).toEqual([third, 1]);
  clock.advance(1_000);
  const fourth = use();
  ring.saveRest();
  expect(writes.at(-1)).toEqual([[used.id, fourth]]);
  using next = new Keyring({ store, clock });
  expect(at(next)).toBe(fourth);
  expect(next.lastUses().has(unused.id)).toBe(false);
});

test("the uses of many keys are stored in batches with pauses for calls, and all at once at shutdown", () => {
  jest.useFakeTimers();
  const writes: number[] = [];
  let stored: ReadonlyMap<string, number> = new Map();
  const saveUses = (uses: ReadonlyMap<string, number>): void => {
    writes.push(uses.size);
    stored = new Map([...stored, ...uses]);
  };
  using uses = new Uses({ uses: () => stored, saveUses });
  const count = 20_000;
  const hour = 3_600_000;
  for (const at of [hour, 2 * hour]) {
    for (let key = 0; key < count; key++) uses.note(`key-${key}`, at);
    jest.advanceTimersByTime(60_000);
    expect([writes.length, Math.max(...writes)]).toEqual([1, 2_000]);
    if (at === hour) jest.advanceTimersByTime(60_000);
    else uses.save();
    expect([...stored.values()]).toEqual(Array.from({ length: count }, () => at));
    expect(writes.splice(0)).toHaveLength(at === hour ? 10 : 2);
  }
});

test("the uses of keys that a reload drops are stored in batches too, and then forgotten", () => {
  jest.useFakeTimers();
  const writes: number[] = [];
  let isFull = false;
  const saveUses = ({ size }: ReadonlyMap<string, number>): void => {
    if (isFull) throw new Error("the disk is full");
    writes.push(size);
  };
  using uses = new Uses({ uses: () => new Map(), saveUses });
  for (let key = 0; key < 5_000; key++) uses.note(`key-${key}`, 3_600_000);
  isFull = true;
  uses.keep(new Set(["key-7"]));
  isFull = false;
  uses.keep(new Set(["key-7"]));
  expect([writes, uses.all().size]).toEqual([[2_000], 3_001]);
  jest.advanceTimersByTime(1_000);
  expect([writes, [...uses.all()]]).toEqual([[2_000, 2_000, 1_000], [["key-7", 3_600_000]]]);
});

test("S25: keys removed from the configuration take no memory, and a key that returns still has its last use", () => {
  const store = memoryKeyStore();
  const { uses } = store;
  const clock = stillClock();
  using ring = new Keyring({ store, clock });
  const use = (id: string): number => {
    const { key } = newKey();
    ring.apply(ring.prepare([keyOptions.parse({ id, key, consumerId: "agent", roles: ["reader"] })]));
    const entry = ring.find(hashKey(key));
    if (entry) ring.principal(entry);
    clock.advance(60_000);
    return Math.floor(clock.now() / 1000) - 60_000;
  };
  const first = use("key-0");
  for (let i = 1; i < 10; i++) use(`key-${i}`);
  // Only if the store cannot be read does the list show just what is held in memory.
  store.uses = () => {
    throw new Error("the disk is broken");
  };
  expect([...ring.lastUses().keys()]).toEqual(["key-9"]);
  store.uses = uses;
  expect(ring.lastUses().get("key-0")).toBe(first);
  const again = use("key-0");
  expect(ring.lastUses().get("key-0")).toBe(again);
});
