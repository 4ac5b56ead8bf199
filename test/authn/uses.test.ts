import { afterEach, expect, jest, test } from "bun:test";
import { Keyring } from "../../src/authn/keyring.ts";
import { hashKey } from "../../src/core/key-hash.ts";
import { keyRequest, memoryKeyStore } from "../support/key-store.ts";
import { stillClock } from "../support/principal.ts";

afterEach(() => void jest.useRealTimers());

test("a key's last use is listed at once, and stored apart from calls, once an hour at most and at the end", () => {
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
  ring.saveRest();
  expect([at(), writes.length]).toEqual([third, 1]);
  clock.advance(1_800_000);
  const fourth = use();
  ring.saveRest();
  expect(writes.at(-1)).toEqual([[used.id, fourth]]);
  using next = new Keyring({ store, clock });
  expect(at(next)).toBe(fourth);
  expect(next.lastUses().has(unused.id)).toBe(false);
});
