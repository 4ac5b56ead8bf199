import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { inertReason } from "../../src/authn/entry.ts";
import { createAuthn } from "../../src/authn/index.ts";
import { localPrincipal, stdioPrincipal } from "../../src/authn/keyless.ts";
import { Keyring } from "../../src/authn/keyring.ts";
import { newKey } from "../../src/authn/new-key.ts";
import { authOptions } from "../../src/authn/options.ts";
import type { Call } from "../../src/core/call.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { FailureCode } from "../../src/core/failure.ts";
import type { Authn, Throttle } from "../../src/core/ports.ts";
import { lossOf, type Source } from "../../src/core/principal.ts";
import { credentialsOf } from "../../src/serve/credentials.ts";
import { type CallParts, loopback, makeCall, remote } from "../support/call.ts";
import { failureOf } from "../support/failure.ts";
import { keyRequest, memoryKeyStore, storedKey } from "../support/key-store.ts";

setDefaultTimeout(30_000);

const open: Keyring[] = [];
afterEach(() => open.splice(0).forEach((keyring) => keyring[Symbol.dispose]()));

const good = newKey().key;
const keys = {
  expired: { key: newKey().key, expiresAt: "2020-01-01" },
  disabled: { key: newKey().key, enabled: false },
  fenced: { key: newKey().key, cidrs: ["10.0.0.0/8", "192.0.2.7"] },
  inert: { key: "gw_your_key_here" },
};

function throttle(): Throttle & { failures: number; blocked: number } {
  return {
    failures: 0,
    blocked: 0,
    blockedFor() {
      return this.blocked;
    },
    failed() {
      this.failures++;
    },
  };
}

function setUp(options: Record<string, unknown> = {}) {
  const keyring = new Keyring({ store: memoryKeyStore(), clock: systemClock });
  open.push(keyring);
  const parsed = authOptions.parse({
    keys: [
      { id: "good", key: good, consumerId: "agent", roles: ["reader"] },
      ...Object.entries(keys).map(([id, key]) => ({ id, consumerId: "agent", roles: ["reader"], ...key })),
    ],
    ...options,
  });
  keyring.apply(keyring.prepare(parsed.keys));
  const slow = throttle();
  return { keyring, slow, authn: createAuthn({ options: parsed, keyring, throttle: slow }) };
}

const call = (credentials: string[], parts: CallParts = {}): Call => makeCall({ credentials, ...parts });

test("R3: a valid key yields its principal, the same object each time", () => {
  const { authn } = setUp();
  const who = authn.identify(call([good]));
  expect(who).toMatchObject({
    id: "key:good",
    keyId: "good",
    consumerId: "agent",
    roles: ["reader"],
    method: "api-key",
  });
  expect(authn.identify(call([good]))).toBe(who);
});

const refused: [what: string, raw: string[], code: FailureCode, http: number, says: string][] = [
  ["no credential", [], "unauthenticated", 401, "An API key is required"],
  ["an unknown key", [newKey().key], "unauthenticated", 401, "is not valid"],
  ["somebody else's key", ["sk-0123456789"], "unauthenticated", 401, "is not valid"],
  ["an empty key", [""], "unauthenticated", 401, "No API key was found"],
  ["a mistyped key", [`${good.slice(0, -1)}!`], "unauthenticated", 401, "mistyped or truncated"],
  ["64 KiB of key", ["a".repeat(65_536)], "unauthenticated", 401, "is not valid"],
  ["an expired key", [keys.expired.key], "unauthenticated", 401, "has expired"],
  ["a disabled key", [keys.disabled.key], "unauthenticated", 401, "is disabled"],
  ["a key from another network", [keys.fenced.key], "unauthenticated", 401, "from this address"],
  ["the placeholder of the example", [keys.inert.key], "unauthenticated", 401, "is a placeholder"],
  ["two keys", [good, good], "two-credentials", 400, "exactly one credential"],
  ["two keys in one header", [`${good}, ${good}`], "two-credentials", 400, "exactly one credential"],
];
const methods = ["initialize", "tools/list", "tools/call", "ping", "server/discover", "nobody/knows"];

test.each(refused)("S30: %s is refused for every method and yields no principal", (_what, raw, code, http, says) => {
  for (const method of methods) {
    const { authn, slow } = setUp();
    const failure = failureOf(() => authn.identify(call(raw, { method, source: remote })));
    expect([failure.code, failure.row.http, failure.message]).toEqual([code, http, expect.stringContaining(says)]);
    if (http === 401) expect(failure.detail.challenge).toStartWith('Bearer realm="mcpgw"');
    expect(slow.failures).toBe(raw.length === 0 ? 0 : 1);
    for (const text of raw) if (text !== "") expect(failure.message).not.toContain(text);
  }
});

test("R3: a valid key in an unsupported header form is not reported as invalid", () => {
  const { authn } = setUp();
  for (const headers of [{ authorization: good }, { authorization: `Token ${good}` }, { "x-api-key": "" }]) {
    const credentials = credentialsOf(new Headers(headers));
    const { message } = failureOf(() => authn.identify(makeCall({ credentials })));
    expect(message).toBe("No API key was found: send Authorization: Bearer … or X-API-Key: …");
  }
});

test("R3: a configured key that is never accepted is refused with the reason that config check gives", () => {
  for (const key of [keys.inert.key, `${good.slice(0, -1)}!`]) {
    const { authn } = setUp({ keys: [{ id: "k", key, consumerId: "a", roles: ["r"] }] });
    expect(failureOf(() => authn.identify(call([key]))).message).toBe(`This API key ${inertReason(key)}.`);
  }
});

test("S30: a credential longer than any key is not looked up", () => {
  const { authn } = setUp();
  const long = (length: number) => failureOf(() => authn.identify(call(["x".repeat(length)]))).detail.internal;
  expect([long(512), long(513)]).toEqual([expect.not.stringContaining("longer"), "longer than any key"]);
});

test("FIELD T41: a key that differs only in its last character is refused", () => {
  const strong = "aB3dE5gH7jK9mN2pQ4sT6vW8yZ1cF0";
  const { authn } = setUp({ keys: [{ id: "k", key: `${strong}x`, consumerId: "a", roles: ["r"] }] });
  expect(authn.identify(call([`${strong}x`])).keyId).toBe("k");
  expect(failureOf(() => authn.identify(call([`${strong}y`]))).code).toBe("unauthenticated");
});

test("R37: a key with networks works only from them; a caller without an address is on this host", () => {
  const { authn } = setUp();
  const from = (source: Source) => () => authn.identify(call([keys.fenced.key], { source }));
  expect(from({ ...remote, ip: "10.9.9.9" })().keyId).toBe("fenced");
  expect(from({ ...remote, ip: "::ffff:10.9.9.9" })().keyId).toBe("fenced");
  expect(from({ ...remote, ip: "192.0.2.7" })().keyId).toBe("fenced");
  expect(failureOf(from({ ...remote, ip: "192.0.2.8" })).code).toBe("unauthenticated");
  expect(failureOf(from(loopback)).code).toBe("unauthenticated");
  expect(failureOf(from({ transport: "stdio", ip: null, loopback: false, forwarded: false })).code).toBe(
    "unauthenticated",
  );
});

test.each([
  ["127.0.0.0/8", true],
  ["::1", true],
  ["::/127", true],
  ["2001:db8::/32", false],
])("R37: a key for %s is accepted from a caller on this host without an address: %p", (network, accepted) => {
  const { key } = newKey();
  const { authn } = setUp({ keys: [{ id: "k", key, consumerId: "a", roles: ["r"], cidrs: [network] }] });
  const source: Source = { transport: "stdio", ip: null, loopback: true, forwarded: false };
  const identify = () => authn.identify(call([key], { source }));
  if (accepted) expect(identify().keyId).toBe("k");
  else expect(failureOf(identify).code).toBe("unauthenticated");
});

test("T42: a reload that accepts callers without a key ends the streams of key holders, and no others", () => {
  const { authn, keyring } = setUp();
  const { key } = keyring.create(keyRequest());
  const held = authn.identify(call([key]));
  const signals = [held.revoked, keyring.frozenSignal()];
  keyring.apply(keyring.prepare([], ["user"]));
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  expect(lossOf(held.revoked)).toBe("dropped");
  keyring.apply(keyring.prepare([]));
  expect(authn.identify(call([key])).revoked.aborted).toBe(false);
});

test("a source whose credentials keep failing is throttled, but a valid key from there still passes", () => {
  const { authn, slow } = setUp();
  slow.blocked = 5000;
  const failure = failureOf(() => authn.identify(call(["wrong"])));
  expect([failure.code, failure.detail.retryAfterMs, slow.failures]).toEqual(["throttled", 5000, 0]);
  // The audit log also records what was wrong for a throttled source.
  expect(failure.detail.internal).toBe("no such key");
  expect(authn.identify(call([good])).keyId).toBe("good");
  expect(failureOf(() => authn.identify(call([]))).code).toBe("unauthenticated");
});

test("FIELD T42: the key is checked on each request of a session", () => {
  const { authn, keyring } = setUp();
  const who = authn.identify(call([good]));
  expect(authn.identify(makeCall({ vouched: who }))).toBe(who);
  keyring.revoke("good");
  expect(failureOf(() => authn.identify(call([good]))).message).toContain("revoked");
  expect(failureOf(() => authn.identify(makeCall({ vouched: who }))).code).toBe("unauthenticated");
});

describe("frozen", () => {
  const entries: [string, (keyring: Keyring, authn: Authn) => unknown][] = [
    ["a key", (_keyring, authn) => authn.identify(call([good]))],
    ["no credential", (_keyring, authn) => authn.identify(call([]))],
    ["the local administrator", (keyring, authn) => authn.identify(makeCall({ vouched: localPrincipal(0, keyring) }))],
    [
      "the parent of serve",
      (keyring, authn) =>
        authn.identify(makeCall({ vouched: stdioPrincipal({ consumerId: "local", roles: ["reader"] }, keyring) })),
    ],
  ];
  test.each(entries)("S30: %s is refused while frozen", (_what, attempt) => {
    const { keyring, authn } = setUp();
    keyring.freeze();
    expect(failureOf(() => attempt(keyring, authn)).code).toBe("frozen");
    keyring.unfreeze();
    expect(authn.identify(call([good])).keyId).toBe("good");
  });
});

describe("type: none", () => {
  const none = { type: "none", roles: ["admin"], keys: [] };
  const stdio: Source = { transport: "stdio", ip: null, loopback: false, forwarded: false };
  test.each([loopback, stdio])("R81: accepts %j as the anonymous principal", (source) => {
    expect(setUp(none).authn.identify(makeCall({ source }))).toMatchObject({
      id: "anonymous",
      roles: ["admin"],
      method: "none",
    });
  });
  test.each([remote, { ...loopback, forwarded: true }, { ...stdio, forwarded: true }])("S31: refuses %j", (source) => {
    const { code, message } = failureOf(() => setUp(none).authn.identify(makeCall({ source })));
    expect([code, message]).toEqual(["unauthenticated", expect.stringContaining("only from its own host")]);
  });
});

test("a change of the roles of callers without a key ends their open streams, and so does a freeze", () => {
  const { authn, keyring } = setUp({ type: "none", roles: ["reader"] });
  const signal = (): AbortSignal => authn.identify(makeCall({ source: loopback })).revoked as AbortSignal;
  keyring.apply(keyring.prepare([], ["reader"]));
  const first = signal();
  keyring.apply(keyring.prepare([], ["reader"]));
  expect(first.aborted).toBeFalse();
  keyring.apply(keyring.prepare([], ["admin"]));
  expect([first.reason, signal().aborted]).toEqual(["dropped", false]);
  const second = signal();
  keyring.freeze();
  expect(second.reason).toBe("frozen");
  keyring.unfreeze();
  const third = signal();
  keyring.apply(keyring.prepare([]));
  expect(third.reason).toBe("dropped");
});

test("S31: a loopback address does not replace a required key", () => {
  expect(failureOf(() => setUp().authn.identify(makeCall({ source: loopback }))).code).toBe("unauthenticated");
});

test("identifying a caller costs the same with 10 and with 100,000 keys", () => {
  const contest = [10, 100_000].map((count) => {
    const store = memoryKeyStore();
    for (let i = 0; i < count; i++) {
      const hash = i.toString(16).padStart(64, "0");
      store.addKey(storedKey({ id: `s${i}`, hash }));
    }
    const keyring = new Keyring({ store, clock: systemClock });
    open.push(keyring);
    const { key } = keyring.create(keyRequest());
    const authn = createAuthn({ options: authOptions.parse({}), keyring, throttle: throttle() });
    return { authn, request: call([key]), best: Infinity };
  });
  // Alternating, and taking the best of each, because other work on the machine disturbs both.
  for (let round = 0; round < 40; round++)
    for (const each of contest) {
      const start = performance.now();
      for (let i = 0; i < 500; i++) each.authn.identify(each.request);
      each.best = Math.min(each.best, performance.now() - start);
    }
  const [few, many] = contest.map(({ best }) => best);
  // Linear time would give 10,000.
  expect((many ?? Infinity) / (few ?? 0)).toBeLessThan(20);
});
