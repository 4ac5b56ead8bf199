import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import type { Principal, Source } from "../../src/core/principal.ts";
import { createLimits, createLimitsState } from "../../src/limits/limits.ts";
import { perValue } from "../../src/core/inbound.ts";
import { limitsOptions } from "../../src/limits/options.ts";
import { loopback, makeRoute } from "../support/call.ts";
import { failureOf } from "../support/failure.ts";
import { principal, stillClock } from "../support/principal.ts";

setDefaultTimeout(30_000);

const route = makeRoute("crm", "get");

function setUp(options: Record<string, unknown> = {}) {
  const clock = stillClock();
  const state = createLimitsState(clock);
  const build = (more: Record<string, unknown>) => createLimits(limitsOptions.parse(more), clock, state);
  const limits = build(options);
  /** Returns how many of `most` calls pass now. */
  const pass = (most: number, who: Principal = principal(), to = route, using = limits): number => {
    for (let passed = 0; passed < most; passed++) {
      try {
        using.take(who, to);
      } catch (error) {
        expect(error).toMatchObject({ code: "rate-limited" });
        return passed;
      }
    }
    return most;
  };
  return { clock, state, limits, pass, build };
}

test("R29: without limits, all calls pass", () => expect(setUp().pass(10_000)).toBe(10_000));

test("R29: the bucket holds perMinute unless burst says otherwise, and refills evenly", () => {
  const { clock, pass } = setUp({ perMinute: 60 });
  expect(pass(100)).toBe(60);
  clock.advance(500);
  expect(pass(1)).toBe(0);
  clock.advance(500);
  expect(pass(2)).toBe(1);
  clock.advance(3_600_000);
  expect(pass(100)).toBe(60);
  expect(setUp({ perMinute: 60, burst: 5 }).pass(100)).toBe(5);
});

test("known defect, a fixed window admits limit × burst: a bucket never admits more than burst + rate × time", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 600 }),
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 1, max: 20 })), { maxLength: 40 }),
      (perMinute, burst, steps) => {
        const { clock, pass } = setUp({ perMinute, burst });
        let admitted = 0;
        let elapsed = 0;
        for (const [wait, calls] of steps) {
          clock.advance(wait);
          elapsed += wait;
          admitted += pass(calls);
          expect(admitted).toBeLessThanOrEqual(burst + (perMinute * elapsed) / 60_000 + 1e-6);
        }
      },
    ),
  );
});

test("the refusal names the limit and when to retry, and a retry at that time succeeds", () => {
  const { clock, limits, pass } = setUp({ perMinute: 90, burst: 1 });
  expect(pass(5)).toBe(1);
  const { code, detail, message } = failureOf(() => limits.take(principal(), route));
  expect([code, detail.limit, detail.retryAfterMs]).toEqual(["rate-limited", "perMinute", 667]);
  expect(message).toContain("90 calls a minute reached; try again in 1 s.");
  clock.advance(333);
  expect(failureOf(() => limits.take(principal(), route)).detail.retryAfterMs).toBe(334);
  clock.advance(333);
  expect(pass(1)).toBe(0);
  clock.advance(1);
  expect(pass(1)).toBe(1);
});

test("R36: if several limits are reached, the refusal names the one with the longest wait", () => {
  const perTool = [
    { tool: "get", perMinute: "6/m", burst: 1 },
    { tool: "never", perMinute: 0 },
  ];
  const { clock, limits, pass } = setUp({ perMinute: 60, burst: 1, perTool });
  expect(pass(5)).toBe(1);
  const { detail } = failureOf(() => limits.take(principal(), route));
  expect([detail.limit, detail.retryAfterMs]).toEqual(["perTool get", 10_000]);
  const never = failureOf(() => limits.take(principal(), makeRoute("crm", "never")));
  expect([never.detail.limit, never.detail.retryAfterMs]).toEqual(["perTool never", undefined]);
  clock.advance(9_999);
  expect(pass(1)).toBe(0);
  clock.advance(1);
  expect(pass(1)).toBe(1);
});

test("a request without a single target takes tokens from its consumer's bucket and from no tool's", () => {
  const { limits, pass } = setUp({ perMinute: 3, perTool: [{ tool: "*", perMinute: 1 }] });
  limits.take(principal(), null);
  limits.take(principal(), null);
  expect(pass(5)).toBe(1);
  expect(failureOf(() => limits.take(principal(), null)).detail.limit).toBe("perMinute");
});

test("a rate of 0 admits no calls, and a rate below one per minute still admits one", () => {
  const none = setUp({ perMinute: 0 });
  expect(none.pass(1)).toBe(0);
  none.clock.advance(86_400_000);
  expect(none.pass(1)).toBe(0);
  expect(failureOf(() => none.limits.take(principal(), route)).detail.retryAfterMs).toBeUndefined();
  expect(setUp({ perMinute: 0, burst: 5 }).pass(1)).toBe(0);
  expect(setUp({ perTool: [{ tool: "get", perMinute: 0, burst: 5 }] }).pass(1)).toBe(0);
  const slow = setUp({ perMinute: "6/h" });
  expect(slow.pass(5)).toBe(1);
  expect(failureOf(() => slow.limits.take(principal(), route)).message).toContain("6 calls an hour");
  slow.clock.advance(600_000);
  expect(slow.pass(5)).toBe(1);
});

test("R97 consumers do not share a bucket, but the keys of one consumer do", () => {
  const { pass } = setUp({ perMinute: 3 });
  const mine = principal("key:a");
  expect(pass(5, mine)).toBe(3);
  expect(pass(5, { ...principal("key:b"), consumerId: mine.consumerId })).toBe(0);
  expect(pass(5, principal("key:c"))).toBe(3);
});

test("R3: a key's own rate replaces the consumer's, for that key only", () => {
  const { limits, pass } = setUp({ perMinute: 3 });
  const fast: Principal = { ...principal("key:a"), rate: { perMinute: 10, burst: 10 } };
  expect(pass(20, fast)).toBe(10);
  expect(failureOf(() => limits.take(fast, route)).detail.limit).toBe("rateLimit");
  expect(pass(20, { ...principal("key:b"), consumerId: fast.consumerId })).toBe(3);
  expect(pass(20, { ...fast, keyId: "another" })).toBe(10);
  expect(pass(1, { ...fast, keyId: "stopped", rate: { perMinute: 0, burst: 0 } })).toBe(0);
});

describe("per tool", () => {
  const perTool = [
    { tool: "crm:get*", perMinute: 2 },
    { server: "files", tool: "*", perMinute: 1 },
  ];
  test("R36, R97: each consumer and tool has a bucket of its own", () => {
    const { pass } = setUp({ perTool });
    expect([pass(9), pass(9, principal("key:b")), pass(9, principal(), makeRoute("crm", "get_all"))]).toEqual([
      2, 2, 2,
    ]);
    const others = [makeRoute("files", "x"), makeRoute("files", "y"), makeRoute("crm", "set")];
    expect(others.map((route) => pass(9, principal(), route))).toEqual([1, 1, 9]);
  });
  test("the refusal names the limit as it is configured", () => {
    const { limits, pass } = setUp({ perTool });
    const nameOf = (server: string, tool: string): unknown => {
      pass(9, principal(), makeRoute(server, tool));
      return failureOf(() => limits.take(principal(), makeRoute(server, tool))).detail.limit;
    };
    expect([nameOf("crm", "get"), nameOf("files", "x")]).toEqual(["perTool crm:get*", "perTool files:*"]);
  });
  test("they apply to tools only: a prompt or resource with a matching name is not limited", () => {
    const { pass } = setUp({ perTool });
    for (const kind of ["prompt", "resource"] as const) expect(pass(9, principal(), { ...route, kind })).toBe(9);
  });
  test("a refused call takes no token from any bucket", () => {
    const { pass } = setUp({ perMinute: 10, perTool });
    expect(pass(9)).toBe(2);
    pass(9);
    expect(pass(20, principal(), makeRoute("crm", "set"))).toBe(8);
  });
});

test("D5: a reload keeps used tokens used and hands out none", () => {
  const { pass, build } = setUp({ perMinute: 10 });
  expect(pass(9)).toBe(9);
  expect(pass(9, principal(), route, build({ perMinute: 10 }))).toBe(1);
  expect(pass(9, principal(), route, build({ perMinute: 100 }))).toBe(0);
});

test("D5: a reload that changes the rate of a perTool limit hands out no tokens, and two limits of one name count separately", () => {
  const get = (perMinute: number | string, burst: number) => ({ tool: "crm:get", perMinute, burst });
  const { pass, build } = setUp({ perTool: [get(3, 3)] });
  expect(pass(9)).toBe(3);
  expect(pass(9, principal(), route, build({ perTool: [get(2, 2)] }))).toBe(0);
  const { clock, pass: passBoth } = setUp({ perTool: [get(60, 2), get("6/h", 3)] });
  expect(passBoth(9)).toBe(2);
  clock.advance(60_000);
  expect(passBoth(9)).toBe(1);
});

test("a bucket that takes longer than a week to refill holds after a week only what its rate adds", () => {
  const { clock, pass } = setUp({ perMinute: "1/h", burst: 500 });
  expect(pass(500)).toBe(500);
  clock.advance(8 * 86_400_000);
  expect(pass(500)).toBe(8 * 24);
});

test("the number of buckets stays bounded with many consumers", () => {
  const { pass, state } = setUp({ perMinute: 5 });
  const who = principal();
  for (let i = 0; i < 210_000; i++) pass(1, { ...who, consumerId: `c${i}` });
  expect(state.consumers.size).toBe(200_000);
});

test("admission limits the requests in flight, per principal and in total", () => {
  const { limits, state } = setUp({ inFlight: { perPrincipal: 2, total: 3 } });
  const [a, b] = [principal("key:a"), principal("key:b")];
  limits.admit(a, 1);
  limits.admit(a, 1);
  const mine = failureOf(() => limits.admit(a, 1));
  expect([mine.code, mine.detail.limit]).toEqual(["overloaded", "inFlight.perPrincipal"]);
  expect(mine.detail.retryAfterMs).toBe(1000);
  limits.admit(b, 1);
  expect(failureOf(() => limits.admit(b, 1)).detail.limit).toBe("inFlight.total");
  limits.release(a, 1);
  limits.admit(b, 1);
  expect([state.inFlight.of(a.id), state.inFlight.of(b.id)]).toEqual([1, 2]);
  for (const who of [a, b, b]) limits.release(who, 1);
  expect([state.inFlight.total, state.inFlight.owners]).toEqual([0, 0]);
});

test("S23: requests in flight are also limited in characters, with room for two of the longest requests", () => {
  const mib = 1024 ** 2;
  const { limits, state } = setUp();
  const [a, b] = [principal("key:a"), principal("key:b")];
  for (let i = 0; i < 16; i++) limits.admit(a, 4 * mib);
  const mine = failureOf(() => limits.admit(a, 1));
  expect([mine.code, mine.message]).toEqual([
    "overloaded",
    expect.stringContaining(`You are at the limit of ${64 * mib}`),
  ]);
  expect(state.inFlight.of("key:a")).toBe(16);
  limits.admit(b, 4 * mib);
  limits.release(a, 4 * mib);
  limits.admit(a, 1);
  for (const more of ["c", "d", "e"]) limits.admit(principal(`key:${more}`), 60 * mib);
  const all = failureOf(() => limits.admit(b, 16 * mib));
  expect([all.code, all.message]).toEqual(["overloaded", expect.stringContaining("The gateway is at the limit")]);
  const carrying = setUp().limits;
  const leave = carrying.carry(a, 64 * mib);
  expect(failureOf(() => carrying.admit(a, 1)).code).toBe("overloaded");
  leave();
  carrying.admit(a, 1);
  const long = setUp({ body: 200 * mib }).limits;
  for (let i = 0; i < 2; i++) long.admit(a, 200 * mib);
  expect(failureOf(() => long.admit(a, 4 * mib)).code).toBe("overloaded");
  // The same holds for many small values, each of which weighs what it takes in memory.
  const many = setUp({ nodes: 10_000_000 }).limits;
  const longest = 4 * mib + perValue * 10_000_000;
  for (let i = 0; i < 2; i++) many.admit(a, longest);
  expect(failureOf(() => many.admit(a, 1)).code).toBe("overloaded");
});

describe("throttle of failing sources", () => {
  const from = (ip: string | null): Source => ({ ...loopback, ip });
  test("ten failures a minute are tolerated, then the block doubles up to 60 s", () => {
    const { clock, limits } = setUp();
    for (let i = 0; i < 10; i++) limits.failed(loopback);
    expect(limits.blockedFor(loopback)).toBe(0);
    const blocks = Array.from({ length: 8 }, () => {
      limits.failed(loopback);
      const block = limits.blockedFor(loopback);
      clock.advance(block);
      expect(limits.blockedFor(loopback)).toBe(0);
      return block;
    });
    expect(blocks).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    clock.advance(60_001);
    limits.failed(loopback);
    expect(limits.blockedFor(loopback)).toBe(0);
  });
  test("slow failures never block, and one source does not block another", () => {
    const { clock, limits } = setUp();
    for (let i = 0; i < 50; i++) {
      limits.failed(from("192.0.2.1"));
      clock.advance(10_000);
    }
    expect(limits.blockedFor(from("192.0.2.1"))).toBe(0);
    for (let i = 0; i < 20; i++) limits.failed(from("192.0.2.2"));
    expect(limits.blockedFor(from("192.0.2.2"))).toBeGreaterThan(0);
    expect(limits.blockedFor(from("192.0.2.1"))).toBe(0);
  });
  test("memory stays bounded with many addresses, and the addresses of one IPv6 host count as one", () => {
    const { limits, state } = setUp();
    for (let i = 0; i < 20_000; i++) limits.failed(from(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`));
    expect(state.failures.size).toBe(10_000);
    for (let i = 0; i < 11; i++) limits.failed(from(`2001:db8::${i}`));
    expect(limits.blockedFor(from("2001:db8::beef"))).toBe(1000);
  });
});
