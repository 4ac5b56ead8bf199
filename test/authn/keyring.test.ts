import { afterEach, expect, jest, test } from "bun:test";
import { systemClock } from "../../src/core/clock.ts";
import { KeyError, inertReason } from "../../src/authn/entry.ts";
import { Keyring } from "../../src/authn/keyring.ts";
import { isMalformedKey, newKey } from "../../src/authn/new-key.ts";
import { type KeyOptions, keyOptions } from "../../src/authn/options.ts";
import { hashKey } from "../../src/core/key-hash.ts";
import { lossOf } from "../../src/core/principal.ts";
import { StoreFailed } from "../../src/core/store.ts";
import { keyRequest, memoryKeyStore } from "../support/key-store.ts";
import { stillClock } from "../support/principal.ts";
import { until } from "../support/until.ts";

const open: Keyring[] = [];
afterEach(() => {
  open.splice(0).forEach((keyring) => keyring[Symbol.dispose]());
  jest.useRealTimers();
});

function keyring(store = memoryKeyStore(), clock = systemClock): Keyring {
  const made = new Keyring({ store, clock });
  open.push(made);
  return made;
}

const secret = newKey().key;
const configured = (more: Record<string, unknown> = {}): KeyOptions =>
  keyOptions.parse({ id: "k1", key: secret, consumerId: "agent", roles: ["reader"], ...more });

function load(ring: Keyring, ...keys: KeyOptions[]): void {
  ring.apply(ring.prepare(keys));
}

function found(ring: Keyring, key: string) {
  const entry = ring.find(hashKey(key));
  if (!entry) throw new Error("no such key");
  return entry;
}

test("a key's rate below one per minute allows a burst of one call, and a rate of 0 none", () => {
  const ring = keyring();
  load(ring, configured({ rateLimit: "6/h" }));
  const rate = (perMinute: number) => found(ring, ring.create({ ...request, perMinute }).key).rate;
  expect(found(ring, secret).rate).toEqual({ perMinute: 0.1, burst: 1 });
  expect(ring.principal(found(ring, secret)).rate).toEqual({ perMinute: 0.1, burst: 1 });
  expect([rate(0.1), rate(0), rate(5)]).toEqual([
    { perMinute: 0.1, burst: 1 },
    { perMinute: 0, burst: 0 },
    { perMinute: 5, burst: 5 },
  ]);
});

const request = keyRequest();

test("R23: a new key has the documented form, is found by its hash, and is never stored in plain text", () => {
  const store = memoryKeyStore();
  const ring = keyring(store);
  const { id, key } = ring.create(request);
  expect(key).toMatch(/^mgw_live_[0-9A-Za-z]{48}_[0-9a-f]{8}$/);
  expect(key).toContain(`_${id}`);
  expect(ring.state(found(ring, key))).toBe("active");
  expect(JSON.stringify(store.keys())).not.toContain(key.slice(17, 57));
  expect(keyring(store).find(hashKey(key))?.id).toBe(id);
});

test("known defect, keys kept in plain text: S34: nothing that the keyring shows contains a key", () => {
  const ring = keyring();
  load(ring, configured());
  const { key } = ring.create(request);
  const shown = JSON.stringify([ring.list(), found(ring, secret), ring.principal(found(ring, key))]);
  for (const text of [key, secret]) expect(shown).not.toContain(text.slice(9, 57));
});

test("a typo in a key is recognized", () => {
  expect(isMalformedKey(secret)).toBe(false);
  expect(isMalformedKey(secret.slice(0, -1))).toBe(true);
  expect(isMalformedKey(secret.replace(/.$/, (char) => (char === "0" ? "1" : "0")))).toBe(true);
  expect(isMalformedKey(`${secret.slice(0, 20)}${secret[20] === "x" ? "y" : "x"}${secret.slice(21)}`)).toBe(true);
  expect(isMalformedKey("somebody-elses-key")).toBe(false);
});

test.each([
  "gw_your_key_here",
  "changeme",
  "password123",
  "correct-horse-battery-staple-and-more-of-it",
  "a".repeat(64),
])("R3: the weak key %p is inert, with a reason, and the other keys load", (key) => {
  const ring = keyring();
  load(ring, configured({ id: "weak", key }), configured());
  const { reason } = ring.list().find(({ id }) => id === "weak") ?? {};
  expect(reason).toContain("never accepted");
  expect(reason).not.toContain(key);
  expect(ring.state(found(ring, key))).toBe("inert");
  expect(ring.state(found(ring, secret))).toBe("active");
});

test("random keys of 128 bits or more are strong in every encoding", () => {
  for (let i = 0; i < 500; i++) {
    const bytes = Buffer.from(crypto.getRandomValues(new Uint8Array(32)));
    for (const key of [bytes.toString("hex"), bytes.toString("base64url"), bytes.toString("base64"), newKey().key]) {
      expect(inertReason(key)).toBeNull();
    }
  }
});

const clashes: [string, KeyOptions[]][] = [
  ["twice", [configured(), configured({ key: newKey().key })]],
  ["the same secret as key k1", [configured(), configured({ id: "k2" })]],
  [
    "the same secret as key k1",
    [configured(), configured({ id: "k2", key: undefined, keyHash: `sha256:${hashKey(secret)}` })],
  ],
];

test.each(clashes)("T40: a configuration error changes nothing: %s", (message, keys) => {
  const ring = keyring();
  const before = newKey().key;
  load(ring, configured({ id: "old", key: before }));
  const at = { path: ["auth", "keys", 1, "id"], message: expect.stringContaining(message) };
  expect(() => ring.prepare(keys)).toThrow(expect.objectContaining(at));
  expect(ring.state(found(ring, before))).toBe("active");
});

test("a key for an invalid network is not created", () => {
  const store = memoryKeyStore();
  expect(() => keyring(store).create({ ...request, cidrs: ["10.0.0.0/40"] })).toThrow(KeyError);
  expect(store.keys()).toEqual([]);
});

test("an id or a secret that is both in the file and in the store is a configuration error", () => {
  const ring = keyring();
  const { id, key } = ring.create(request);
  expect(() => ring.prepare([configured({ id })])).toThrow("also in the stored keys");
  expect(() => ring.prepare([configured({ key })])).toThrow(`stored key ${id}`);
});

test("T42, FIELD T8: revoking a key ends its streams at once and persists over a restart", () => {
  const store = memoryKeyStore();
  const ring = keyring(store);
  const { id, key } = ring.create(request);
  const { revoked } = ring.principal(found(ring, key));
  ring.revoke(id);
  expect([revoked.aborted, lossOf(revoked)]).toEqual([true, "revoked"]);
  expect(ring.state(found(ring, key))).toBe("revoked");
  const later = keyring(store);
  expect(later.state(found(later, key))).toBe("revoked");
});

test("a revoked YAML key stays revoked after a reload, after a restart, and under another id", () => {
  const store = memoryKeyStore();
  const ring = keyring(store);
  load(ring, configured());
  ring.revoke("k1");
  load(ring, configured({ name: "again" }));
  expect(ring.state(found(ring, secret))).toBe("revoked");
  const later = keyring(store);
  load(later, configured({ id: "k2" }));
  expect(later.state(found(later, secret))).toBe("revoked");
});

test("R23 a new secret under the id of a revoked YAML key is refused with a warning; it works under another id", () => {
  const store = memoryKeyStore();
  const ring = keyring(store);
  load(ring, configured());
  ring.revoke("k1");
  const fresh = newKey().key;
  const [same, other] = [configured({ key: fresh }), configured({ id: "k2", key: fresh })];
  load(ring, same);
  expect(ring.state(found(ring, fresh))).toBe("revoked");
  const warned = [same, configured()].map((key) => ring.warnings(ring.prepare([key])));
  const warning = "auth.keys[0].id: key k1 was revoked; give a new secret another id";
  expect(warned).toEqual([[warning], []]);
  for (const one of [ring, keyring(store)]) {
    load(one, other);
    expect([one.state(found(one, fresh)), one.warnings(one.prepare([other]))]).toEqual(["active", []]);
  }
});

test("a key is revoked even if the store fails", () => {
  const store = memoryKeyStore();
  const ring = keyring({
    ...store,
    revokeKey: () => {
      throw new Error("disk full");
    },
  });
  const { id, key } = ring.create(request);
  expect(() => ring.revoke(id)).toThrow("disk full");
  expect(ring.state(found(ring, key))).toBe("revoked");
});

test("a reload ends the streams of the keys that it drops or changes, and of no others", () => {
  const ring = keyring();
  const [dropped, changed] = [newKey().key, newKey().key];
  load(ring, configured(), configured({ id: "k2", key: dropped }), configured({ id: "k3", key: changed }));
  const [kept, gone, other] = [secret, dropped, changed].map((key) => ring.principal(found(ring, key)));
  const signals = [kept?.revoked, gone?.revoked];
  load(ring, configured(), configured({ id: "k3", key: changed, roles: ["admin"] }));
  expect(signals.map((signal) => signal?.aborted)).toEqual([false, true]);
  expect(ring.principal(found(ring, secret))).toBe(kept!);
  // Read only after the change: the signal of a principal that is no longer valid is already aborted.
  expect(other && lossOf(other.revoked)).toBe("dropped");
  expect(ring.find(hashKey(dropped))).toBeNull();
  expect(ring.list().map(({ id }) => id)).toEqual(["k1", "k3"]);
});

test("a key expires to the millisecond, and its expiry ends its streams and no others", async () => {
  const ring = keyring();
  const at = (ms: number): string => new Date(Date.now() + ms).toISOString();
  const late = newKey().key;
  load(ring, configured({ expiresAt: at(60) }), configured({ id: "k2", key: late, expiresAt: at(3_600_000) }));
  const { revoked } = ring.principal(found(ring, secret));
  const other = ring.principal(found(ring, late)).revoked;
  expect(ring.state(found(ring, secret))).toBe("active");
  await until(() => revoked.aborted, "the stream ends with its key");
  expect(ring.state(found(ring, secret))).toBe("expired");
  expect([other.aborted, lossOf(revoked)]).toEqual([false, "expired"]);
});

test("the streams of a stored key end at its expiry, whichever process created the key and whenever", async () => {
  const store = memoryKeyStore();
  const [made, told] = [keyring(store), keyring(store)];
  const { key } = made.create({ ...request, expiresAt: Date.now() + 60 });
  told.refresh();
  const signals = [made, told, keyring(store)].map((ring) => ring.principal(found(ring, key)).revoked);
  expect(signals.some(({ aborted }) => aborted)).toBe(false);
  await until(() => signals.every(({ aborted }) => aborted), "all streams end");
  expect(signals.map(lossOf)).toEqual(["expired", "expired", "expired"]);
});

test("R23 a stream ends about a second after its key expires, also if the clock is set or the machine sleeps", async () => {
  const clock = stillClock();
  const ring = keyring(memoryKeyStore(), clock);
  const hour = 3_600_000;
  load(ring, configured({ expiresAt: new Date(clock.now() / 1000 + 2 * hour).toISOString() }));
  const open = () => ring.principal(found(ring, secret)).revoked;
  const ahead = open();
  clock.advance(3 * hour);
  await until(() => ahead.aborted, "the stream ends after a step", 2_500);
  clock.advance(-2 * hour);
  const again = open();
  expect([again.aborted, ring.state(found(ring, secret))]).toEqual([false, "active"]);
  clock.advance(hour);
  await until(() => again.aborted, "the stream ends after the clock was set back", 2_500);
  expect([lossOf(ahead), lossOf(again)]).toEqual(["expired", "expired"]);
});

test("a key is expired at its expiry time even before any timer fires", () => {
  const clock = stillClock();
  const ring = keyring(memoryKeyStore(), clock);
  load(ring, configured({ expiresAt: new Date(clock.now() / 1000 + 1000).toISOString() }));
  clock.advance(999);
  expect(ring.state(found(ring, secret))).toBe("active");
  clock.advance(1);
  expect(ring.state(found(ring, secret))).toBe("expired");
});

test("a successor has the rights of the old key, which stays valid; only active stored keys can have one", () => {
  const ring = keyring();
  load(ring, configured());
  const old = ring.create({ ...request, perMinute: 5, cidrs: ["10.0.0.0/8"], expiresAt: Date.now() + 3_600_000 });
  const made = ring.successor(old.id);
  expect(ring.state(found(ring, old.key))).toBe("active");
  expect(made).toEqual({ ...old, id: found(ring, made.key).id, key: made.key, createdAt: made.createdAt });
  expect(() => ring.successor("k1")).toThrow("is in the configuration file");
  ring.revoke(old.id);
  expect(() => ring.successor(old.id)).toThrow("is revoked");
  expect(() => ring.revoke("nobody")).toThrow("there is no key nobody");
});

test("a freeze ends every stream, also those of callers without a key, and persists over a restart", () => {
  const store = memoryKeyStore();
  const ring = keyring(store);
  load(ring, configured());
  const signals = [ring.principal(found(ring, secret)).revoked, ring.frozenSignal()];
  ring.freeze();
  expect(signals.map((signal) => signal.aborted && lossOf(signal))).toEqual(signals.map(() => "frozen"));
  ring.unfreeze();
  const again = ring.principal(found(ring, secret));
  expect([again.name, again.revoked.aborted, ring.frozenSignal().aborted]).toEqual(["k1", false, false]);
  ring.freeze();
  expect(again.revoked.aborted).toBe(true);
  const later = keyring(store);
  expect([later.frozen, later.frozenSignal().aborted]).toEqual([true, true]);
  later.unfreeze();
  expect([later.frozen, later.frozenSignal().aborted, store.frozen()]).toEqual([false, false, false]);
});

test("after an unfreeze without a freeze, the next freeze or change still ends every open stream", () => {
  const ring = keyring();
  const signals = [ring.frozenSignal(), ring.changedSignal()];
  ring.unfreeze();
  ring.freeze();
  expect(signals.map((signal) => signal.aborted && lossOf(signal))).toEqual(["frozen", "frozen"]);
  ring.unfreeze();
  const changing = ring.changedSignal();
  ring.unfreeze();
  ring.apply(ring.prepare([], ["reader"]));
  expect([ring.frozen, changing.aborted, ring.changedSignal().aborted]).toEqual([false, true, false]);
});

test("R23 T42: a refresh applies another process's key changes and ends the streams of keys that it revoked", () => {
  const store = memoryKeyStore();
  const [here, there] = [keyring(store), keyring(store)];
  for (const ring of [here, there]) load(ring, configured());
  const made = there.create(request);
  expect(here.find(hashKey(made.key))).toBeNull();
  here.refresh();
  const cut = [made.key, secret].map((key) => here.principal(found(here, key)).revoked);
  const kept = here.principal(found(here, secret));
  here.refresh();
  expect([here.principal(found(here, secret)) === kept, cut.some(({ aborted }) => aborted)]).toEqual([true, false]);
  there.revoke(made.id);
  there.revoke("k1");
  here.refresh();
  expect(cut.every(({ aborted }) => aborted)).toBe(true);
  expect([made.key, secret].map((key) => here.state(found(here, key)))).toEqual(["revoked", "revoked"]);
  const open = here.frozenSignal();
  there.freeze();
  here.refresh();
  expect([here.frozen, open.aborted]).toEqual([true, true]);
  there.unfreeze();
  here.refresh();
  expect([here.frozen, here.frozenSignal().aborted]).toEqual([false, false]);
});

test("a refresh keeps keys that another process did not change, and configured keys that it does not know", () => {
  const store = memoryKeyStore();
  const unsaved = () => {
    throw new StoreFailed("disk full");
  };
  const [here, there] = [keyring({ ...store, revokeKey: unsaved }), keyring(store)];
  const [kept, dead] = [here.create(request), here.create(request)];
  load(here, configured());
  const used = [kept.key, secret].map((key) => here.principal(found(here, key)));
  here.revoke(dead.id);
  const stored = { ...store.keys()[0]!, roles: ["admin"], revokedAt: 1 };
  store.addKey({ ...stored, id: "k1", hash: hashKey("another") });
  store.addKey({ ...stored, id: "other", hash: hashKey(secret) });
  const made = there.create(request);
  here.refresh();
  expect([kept.key, secret].map((key) => here.principal(found(here, key)))).toEqual(used);
  expect(used.map(({ revoked }) => revoked.aborted)).toEqual([false, false]);
  const states = [kept.key, secret, made.key, dead.key].map((key) => here.state(found(here, key)));
  expect([states, here.find(hashKey("another"))]).toEqual([["active", "active", "active", "revoked"], null]);
});

test("R23: a change that cannot be stored is in effect at once and stored later; unfreeze drops an unsaved freeze", () => {
  jest.useFakeTimers();
  const store = memoryKeyStore();
  let [full, tries] = [true, 0];
  const refusing = <A extends unknown[]>(act: (...given: A) => void) => {
    return (...given: A): void => {
      tries++;
      if (full) throw new StoreFailed("disk full");
      act(...given);
    };
  };
  const flaky = { ...store, revokeKey: refusing(store.revokeKey), setFrozen: refusing(store.setFrozen) };
  using ring = keyring(flaky);
  const { id } = ring.create(request);
  ring.revoke(id);
  ring.freeze();
  expect([ring.saved, ring.frozen, ring.list()[0]?.state]).toEqual([false, true, "revoked"]);
  ring.refresh();
  expect(ring.frozen).toBe(true);
  expect(() => ring.unfreeze()).toThrow("disk full");
  const before = tries;
  jest.advanceTimersByTime(1_000);
  expect(tries).toBeGreaterThan(before + 5);
  full = false;
  ring.unfreeze();
  expect(ring.saved).toBe(false);
  jest.advanceTimersByTime(1_000);
  expect([ring.saved, jest.getTimerCount()]).toEqual([true, 0]);
  expect([store.frozen(), store.keys()[0]?.revokedAt === null]).toEqual([false, false]);
});

test("R23: an unsaved change is stored at once if disk space can be freed, or when asked to", () => {
  const store = memoryKeyStore();
  let full = true;
  const flaky = {
    ...store,
    setFrozen(on: boolean) {
      if (full) throw new StoreFailed("disk full");
      store.setFrozen(on);
    },
  };
  using waits = new Keyring({ store: flaky, clock: systemClock });
  waits.freeze();
  expect([waits.saveRest(), store.frozen()]).toEqual([{ freeze: true, revocations: 0 }, false]);
  full = false;
  expect([waits.saveRest(), store.frozen()]).toEqual([{ freeze: false, revocations: 0 }, true]);
  store.setFrozen(false);
  full = true;
  using roomy = new Keyring({ store: flaky, clock: systemClock, makeRoom: () => full && !(full = false) });
  roomy.freeze();
  expect([roomy.saved, store.frozen()]).toEqual([true, true]);
});
