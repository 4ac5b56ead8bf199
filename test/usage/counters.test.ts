import { expect, test } from "bun:test";
import { createCounters, nothing } from "../../src/usage/counters.ts";
import { groupUsage } from "../../src/usage/query.ts";

const hour = 3_600_000_000;
const base = Date.UTC(2026, 10, 21, 23) * 1000;

function sample() {
  const counters = createCounters();
  const call = { type: "call.end", consumer: "a", srv: "crm", tool: "q", us: 10, al: 3, rl: 5 };
  counters.add({ ...call, st: "ok" }, base);
  counters.add({ ...call, st: "tool_error" }, base + hour - 1);
  counters.add({ ...call, st: "ok" }, base + hour);
  counters.add({ type: "call.refused", consumer: "a", srv: "crm", tool: "drop", st: "denied" }, base);
  counters.add({ type: "call.refused", consumer: "b", st: "rate_limited", count: 40, us: 3, al: 2 }, base);
  counters.add({ type: "call.lost", consumer: "b", srv: "x", tool: "q", st: "lost", al: 2 }, base);
  return counters;
}

test("a record of calls to many resources is counted like the record of a single call", () => {
  const counters = createCounters();
  const read = { type: "call.refused", consumer: "a", srv: "crm", method: "resources/read", st: "denied" };
  counters.add({ ...read, tool: "f:a" }, base);
  counters.add({ ...read, count: 3 }, base);
  expect(counters.rows()).toMatchObject([{ server: "crm", tool: "(resource)", calls: 4 }]);
});

test("R13 usage: calls, errors, denials, time and bytes per consumer, server, tool and hour", () => {
  const sums = sample().rows();
  const epochHour = base / hour;
  const a = { ...nothing, consumer: "a", server: "crm", hour: epochHour };
  const b = { ...nothing, consumer: "b", hour: epochHour };
  expect(sums).toEqual([
    { ...a, tool: "q", calls: 2, errors: 1, latencySumUs: 20, bytesIn: 6, bytesOut: 10 },
    { ...a, tool: "q", hour: epochHour + 1, calls: 1, latencySumUs: 10, bytesIn: 3, bytesOut: 5 },
    { ...a, tool: "drop", calls: 1, denied: 1 },
    { ...b, server: "", tool: "", calls: 40, denied: 40, latencySumUs: 120, bytesIn: 80 },
    { ...b, server: "x", tool: "q", calls: 1, errors: 1, bytesIn: 2 },
  ]);
});

test("R13 usage: tools of the same name are counted per server, and a record of many calls adds the bytes of all of them", () => {
  const counters = createCounters();
  const refused = { type: "call.refused", consumer: "a", tool: "q", st: "denied", count: 3, al: 2, rl: 5 };
  for (const srv of ["crm", "erp", "crm"]) counters.add({ ...refused, srv }, base);
  expect(counters.rows()).toMatchObject([
    { server: "crm", calls: 6, bytesIn: 12, bytesOut: 30 },
    { server: "erp", calls: 3, bytesIn: 6, bytesOut: 15 },
  ]);
});

test("R13 usage: names that no server offers are counted together", () => {
  const counters = createCounters();
  for (let i = 0; i < 100; i++) {
    counters.add({ type: "call.refused", consumer: "a", tool: `made-up-${i}`, st: "denied" }, base);
  }
  // A record of many calls keeps no name.
  counters.add({ type: "call.refused", consumer: "a", code: "unknown-tool", st: "denied", count: 50 }, base);
  expect(groupUsage(counters.rows(), "tool")).toMatchObject([{ name: "(unknown)", calls: 150, denied: 150 }]);
  expect(counters.rows()).toHaveLength(1);
});

const chosen: [string, string][] = [
  ["resources/read", "s:(resource)"],
  ["resources/subscribe", "s:(resource)"],
  ["resources/directory/read", "s:(resource)"],
  ["completion/complete", "s:(completion)"],
  ["tools/made-up", "s:(extension)"],
];
for (const [method, name] of chosen) {
  test(`R13 usage: ${method} is counted under ${name}, whatever name its caller chooses`, () => {
    const counters = createCounters();
    for (let i = 0; i < 100; i++) {
      const [type, st] = i % 2 ? ["call.end", "ok"] : ["call.refused", "denied"];
      counters.add({ type, st, consumer: "a", srv: "s", method, tool: `made-up-${i}` }, base);
    }
    expect(counters.rows()).toHaveLength(1);
    expect(groupUsage(counters.rows(), "tool")).toMatchObject([{ name, calls: 100, denied: 50 }]);
  });
}

test("R13 usage: tools, prompts and tasks are counted by name", () => {
  const counters = createCounters();
  const methods = ["tools/call", "prompts/get", "tasks/get"];
  for (const method of methods)
    counters.add({ type: "call.end", consumer: "a", srv: "s", method, tool: method, st: "ok" }, base);
  expect(counters.rows().map(({ tool }) => tool)).toEqual(methods);
});

test("R13 usage: a task's outcome that a server reports adds its bytes but is not a call", () => {
  const counters = createCounters();
  const record = { type: "call.end", consumer: "a", srv: "s", tool: "t", st: "ok", us: 5, rl: 7 };
  counters.add({ ...record, method: "tools/call" }, base);
  counters.add({ ...record, method: "subscriptions/listen", us: 0 }, base);
  const listening = { type: "call.end", consumer: "a", method: "subscriptions/listen", st: "ok" };
  counters.add(listening, base);
  expect(counters.rows()).toMatchObject([
    { server: "s", tool: "t", calls: 1, latencySumUs: 5, bytesOut: 14 },
    { server: "", tool: "", calls: 1 },
  ]);
});

test("R26 usage: hours and days are in chronological order, whatever their numbers of calls", () => {
  const counters = createCounters();
  const call = { type: "call.end", consumer: "a", srv: "crm", tool: "q", st: "ok" };
  counters.add({ ...call, count: 9 }, base + hour);
  counters.add(call, base);
  expect(groupUsage(counters.rows(), "hour").map(({ calls }) => calls)).toEqual([1, 9]);
  expect(groupUsage(counters.rows(), "day").map(({ calls }) => calls)).toEqual([1, 9]);
});

test("usage: a begin, a checkpoint and an event are not counted", () => {
  const counters = createCounters();
  for (const type of ["call.begin", "checkpoint", "key.created"]) counters.add({ type, consumer: "a", st: "ok" }, base);
  expect(counters.rows()).toEqual([]);
});

test("calls without a known consumer are counted under (none)", () => {
  const counters = createCounters();
  counters.add({ type: "call.refused", st: "denied" }, base);
  counters.add({ type: "auth.failed", st: "auth-failed", count: 9 }, base);
  for (const by of ["consumer", "server", "tool"] as const)
    expect(groupUsage(counters.rows(), by)).toMatchObject([{ name: "(none)", calls: 10, denied: 10 }]);
});

/** Returns the groups, in order, with their number of calls. */
const told = (...given: Parameters<typeof groupUsage>): string[] =>
  groupUsage(...given).map(({ name, calls }) => `${name} ${calls}`);

test.each([
  ["consumer", ["b 41", "a 4"]],
  ["server", ["(none) 40", "crm 4", "x 1"]],
  ["tool", ["(none) 40", "crm:q 3", "crm:drop 1", "x:q 1"]],
  ["day", ["2026-11-21 44", "2026-11-22 1"]],
  ["hour", ["2026-11-21T23:00Z 44", "2026-11-22T00:00Z 1"]],
] as const)("R26 usage by %s", (by, wanted) => {
  expect(told(sample().rows(), by)).toEqual([...wanted]);
});

test("R26 usage by tag: a server counts under each of its tags; untagged servers and removed servers count under one name each", () => {
  const tags = new Map([
    ["crm", ["sales", "eu"]],
    ["x", []],
  ]);
  expect(groupUsage(sample().rows(), "tag", tags).map(({ name, calls, bytesIn }) => [name, calls, bytesIn])).toEqual([
    ["(none)", 40, 80],
    ["eu", 4, 9],
    ["sales", 4, 9],
    ["(untagged)", 1, 2],
  ]);
  expect(told(sample().rows(), "tag")).toEqual(["(none) 40", "(not configured) 5"]);
});
