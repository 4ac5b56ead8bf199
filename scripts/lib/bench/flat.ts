import { createAuthn } from "../../../src/authn/index.ts";
import { Keyring } from "../../../src/authn/keyring.ts";
import { type NewKey, newKey } from "../../../src/authn/new-key.ts";
import { authOptions } from "../../../src/authn/options.ts";
import { createCatalog } from "../../../src/catalog/catalog.ts";
import { createHandedOut } from "../../../src/catalog/handed-out.ts";
import { namesOptions } from "../../../src/catalog/options.ts";
import { systemClock as clock } from "../../../src/core/clock.ts";
import type { Upstreams } from "../../../src/core/ports.ts";
import { emptyListing } from "../../../src/core/upstream.ts";
import { callOf } from "../../../src/gateway/call.ts";
import type { Gateway } from "../../../src/gateway/gateway.ts";
import { handle } from "../../../src/gateway/handle.ts";
import { createLimits, createLimitsState } from "../../../src/limits/limits.ts";
import { limitsOptions } from "../../../src/limits/options.ts";
import { readInbound } from "../../../src/mcp/classify.ts";
import { policiesOptions, rulesOptions } from "../../../src/policy/options.ts";
import { createPolicy } from "../../../src/policy/policy.ts";
import { createValidator } from "../../../src/validate/validate.ts";
import { loopback } from "../../../test/support/call.ts";
import { plainGateway, quietUpstreams } from "../../../test/support/gateway.ts";
import { memoryKeyStore, storedKey } from "../../../test/support/key-store.ts";
import { median } from "./stats.ts";

/** Median cost of `handle()` with few and with many of something, µs per call, and the ratio of the two. */
export type Flatness = {
  readonly what: string;
  readonly smallUs: number;
  readonly largeUs: number;
  readonly ratio: number;
};

type Size = { readonly keys: number; readonly rules: number };

// The callers use the same number of keys in each size, to compare finding a key among all, not the CPU caches.
const activeKeys = 10;
const batch = 2000;

const inputSchema = { type: "object", properties: { text: { type: "string" } } };
const tool = { name: "echo", text: JSON.stringify({ name: "echo", inputSchema }), inputSchema };

const upstreams: Upstreams = {
  ...quietUpstreams,
  send: () => Promise.resolve({ kind: "result", era: "legacy", text: '{"content":[]}', isError: false, type: null }),
  listings: () => [{ ...emptyListing, server: "web", tools: [tool] }],
};

/** Returns a policy of `count` rules, a tenth of them guardrails; only the last rule of a role allows the call. */
function policyOf(count: number): ReturnType<typeof createPolicy> {
  const guardrails = Math.floor(count / 10);
  const rules = Array.from({ length: guardrails }, (_, index) => ({ tool: `*drop-${index}*`, action: "deny" }));
  const own = Array.from({ length: count - guardrails - 1 }, (_, index) => ({
    tool: `other_${index}_*`,
    action: "allow",
  }));
  return createPolicy({
    rules: rulesOptions.parse(rules),
    policies: policiesOptions.parse([
      { id: "bench", roles: ["bench"], rules: [...own, { tool: "echo", action: "allow" }] },
    ]),
  });
}

/**
 * Returns a gateway of the given size, made of the program's own stages; `measure` runs one batch of calls and resolves
 * to µs per call. Nothing is recorded: the disk is measured elsewhere and would hide the difference here.
 */
function subject({ keys: keyCount, rules }: Size): { measure(): Promise<number>; [Symbol.dispose](): void } {
  const keys = Array.from({ length: keyCount }, () => newKey());
  const store = memoryKeyStore();
  for (const { id, hash } of keys) {
    store.addKey(storedKey({ id, hash, consumerId: `consumer-${id}`, roles: ["bench"] }));
  }
  const keyring = new Keyring({ store, clock });
  const options = limitsOptions.parse({ perMinute: 600_000_000 });
  const limits = createLimits(options, clock, createLimitsState(clock));
  const policy = policyOf(rules);
  const validator = createValidator(clock);
  const sealer = { seal: () => "", open: () => null };
  const catalog = createCatalog({
    servers: [{ id: "web", prefix: "always", enabled: true }],
    toolsets: [],
    listings: upstreams.listings(),
    names: namesOptions.parse({}),
    page: options.page,
    policy,
    sealer,
    clock,
    failed: () => {},
    handedOut: createHandedOut(clock),
    callerTools: () => new Map(),
    previous: null,
  });
  const gw = plainGateway({
    authn: createAuthn({ options: authOptions.parse({}), keyring, throttle: limits }),
    limits,
    policy,
    catalog,
    validator,
    upstreams,
    sealer,
    clock,
    caps: options,
  });
  const step = Math.max(1, Math.floor(keyCount / activeKeys));
  const callers = keys.filter((_, index) => index % step === 0).slice(0, activeKeys);
  return {
    measure: () => run(gw, callers),
    [Symbol.dispose]: () => keyring[Symbol.dispose](),
  };
}

const params = { name: "web__echo", arguments: { text: "ping" } };
const text = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params });
const carrier = { controller: new AbortController(), session: null, scope: null, emit: null };

async function run(gw: Gateway, callers: readonly NewKey[]): Promise<number> {
  const context = { headers: new Headers(), pinned: "legacy", revision: "2025-11-25" } as const;
  const inbound = readInbound(text, gw.caps, context);
  const started = performance.now();
  for (let index = 0; index < batch; index++) {
    const credentials = [callers[index % callers.length]?.key ?? ""];
    const presented = { source: loopback, credentials, vouched: null };
    const call = callOf(gw, { inbound, fault: null }, presented, carrier);
    await handle(gw, call);
    if (call.failure) throw call.failure;
  }
  return ((performance.now() - started) * 1000) / batch;
}

async function compare(what: string, small: Size, large: Size, alternations: number): Promise<Flatness> {
  using few = subject(small);
  using many = subject(large);
  // Runs until the compiler has settled.
  for (let round = 0; round < 5; round++) for (const one of [few, many]) await one.measure();
  const times: { few: number[]; many: number[] } = { few: [], many: [] };
  for (let round = 0; round < alternations; round++) {
    times.few.push(await few.measure());
    times.many.push(await many.measure());
  }
  const smallUs = median(times.few);
  const largeUs = median(times.many);
  return { what, smallUs, largeUs, ratio: largeUs / smallUs };
}

/** Measures whether a call costs the same with many keys and with many rules, in this number of alternations. */
export async function measureFlatness(alternations: number): Promise<Flatness[]> {
  const base: Size = { keys: 10, rules: 10 };
  return [
    await compare("10 and 100,000 keys", base, { ...base, keys: 100_000 }, alternations),
    await compare("10 and 10,000 rules", base, { ...base, rules: 10_000 }, alternations),
  ];
}
