import { expect, test } from "bun:test";
import { subjectIn, valueOf } from "../../src/audit/subject.ts";
import { Failure } from "../../src/core/failure.ts";
import { notFound } from "../../src/core/name.ts";
import { StoreFailed } from "../../src/core/store.ts";
import { timeText } from "../../src/core/time-text.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { createCounters } from "../../src/usage/counters.ts";
import { groupUsage } from "../../src/usage/query.ts";
import { makeRoute } from "../support/call.ts";
import { reasonOf } from "../support/failure.ts";
import { until } from "../support/until.ts";
import { arriving, callOf, callsIn, failed, handClock, recordsOf, openLog } from "../support/audit.ts";

test("more than 60 refusals of one principal per minute coalesce, and the counts add up", async () => {
  const clock = handClock();
  await using opened = await openLog({}, { clock });
  const refuse = (
    consumer: string,
    code: "denied" | "rate-limited" | "parse-error" | "invalid-arguments",
    ip?: string,
  ) => {
    clock.advance(1000);
    const from = ip === undefined ? {} : { ip };
    return opened.broker.end(
      failed(callOf({ consumer, ...from }), new Failure(code, "no"), code === "denied" ? 20 : 51),
    );
  };
  const begun = timeText(clock.now());
  for (let i = 0; i < 100; i += 1) await refuse("noisy", "denied");
  for (let i = 0; i < 7; i += 1) await refuse("noisy", "rate-limited");
  for (const code of ["parse-error", "invalid-arguments", "parse-error"] as const) await refuse("noisy", code);
  await refuse("noisy", "invalid-arguments", "192.0.2.7");
  await refuse("calm", "denied");
  expect(callsIn(opened).filter(({ consumer }) => consumer === "noisy")).toHaveLength(60);
  const over = timeText(clock.now());
  clock.advance(61_000_000);
  const counted = await until(() => {
    const found = callsIn(opened).filter(({ count }) => count !== undefined);
    return found.length === 4 ? found : null;
  }, "counted refusals");
  const noisy = { caller: "noisy-1", subj: "key:noisy-1", consumer: "noisy", roles: ["reader"] };
  const here = { ...noisy, src: "http:127.0.0.1" };
  expect(counted).toMatchObject([
    { ...here, st: "denied", code: "denied", count: 40, us: 20, al: 8 },
    { ...here, st: "rate_limited", code: "rate-limited", count: 7, us: 51 },
    { ...here, st: "invalid", code: "parse-error", count: 2 },
    { ...noisy, st: "invalid", code: "invalid-arguments", count: 2 },
  ]);
  // The refused calls came from two addresses.
  expect(counted[3]?.src).toBeUndefined();
  const [denied, limited] = callsIn(opened).filter(({ count }) => count !== undefined);
  for (const facts of [denied?.facts, limited?.facts]) {
    const times = [begun, String(facts?.["first"]), String(facts?.["last"]), over];
    expect(times).toEqual([...new Set(times)].toSorted());
  }
  expect(callsIn(opened).filter(({ consumer }) => consumer === "calm")).toHaveLength(1);
});

test("R8 R26 counted refusals are attributed to server and tool, a few dozen of them separately, and none is omitted", async () => {
  await using opened = await openLog();
  const refuse = (tool: string, failure: Failure) => opened.broker.end(failed(callOf({ tool }), failure));
  const calls = { drop: 150, list: 5, query: 40 };
  for (const [tool, times] of Object.entries(calls)) {
    for (let i = 0; i < times; i += 1) await refuse(tool, notFound("tool", `crm__${tool}`));
  }
  await opened.close();
  const records = recordsOf(opened).filter(({ type }) => type === "call.refused");
  const about = { method: "tools/call", srv: "crm", rule: "reader-policy#1", st: "denied" };
  expect(records.filter(({ count }) => count !== undefined)).toMatchObject([
    { ...about, tool: "drop", count: 90 },
    { ...about, tool: "list", count: 5 },
    { ...about, tool: "query", count: 40 },
  ]);
  const counters = createCounters();
  for (const record of records) counters.add(record, 0);
  const usage = groupUsage(counters.rows(), "tool");
  expect(usage.map(({ name, denied }) => [name, denied])).toEqual([
    ["crm:drop", 150],
    ["crm:query", 40],
    ["crm:list", 5],
  ]);
});

test("T20 of a caller that floods a thousand tools, a few dozen are reported separately and the others together", async () => {
  await using opened = await openLog();
  for (let i = 0; i < 1060; i += 1) {
    await opened.broker.end(failed(callOf({ tool: `t${i}` }), new Failure("denied", "no")));
  }
  await opened.close();
  const counted = recordsOf(opened).filter(({ count }) => count !== undefined);
  expect(counted.map(({ tool, count }) => [tool !== undefined, count])).toEqual([
    ...Array.from({ length: 64 }, () => [true, 1]),
    [false, 936],
  ]);
  expect(counted.at(-1)).toMatchObject({ srv: "crm", st: "denied", code: "denied" });
});

test("a counted refusal names a prompt, and a rule known only from the failure, but no method invented by a caller", async () => {
  await using opened = await openLog();
  const { who } = callOf();
  const refuse = (method: string, hasRoute: boolean) => {
    const call = callOf({ tool: "greet" });
    Object.assign(call, { who, inbound: { ...call.inbound, method }, verdict: null });
    call.route = hasRoute ? { ...makeRoute("crm", "greet"), kind: "prompt", tool: null } : null;
    return opened.broker.end(failed(call, new Failure("denied", "no", { rule: "no-prompts" })));
  };
  for (let i = 0; i < 62; i += 1) await refuse("prompts/get", true);
  for (let i = 0; i < 3; i += 1) await refuse(`invented/${i}`, false);
  await opened.close();
  const [prompts, invented] = recordsOf(opened).filter(({ count }) => count !== undefined);
  const all = { rule: "no-prompts", roles: ["reader"] };
  expect(prompts).toMatchObject({ ...all, method: "prompts/get", srv: "crm", tool: "greet", count: 2 });
  expect(invented).toMatchObject({ ...all, count: 3 });
  expect([invented?.method, invented?.srv]).toEqual([undefined, undefined]);
});

test("refusals are not counted by names that callers choose", async () => {
  await using opened = await openLog();
  const read = (uri: string, resolved: boolean) => {
    const call = callOf();
    call.route = resolved ? { ...makeRoute("crm", uri), kind: "resource", tool: null } : null;
    call.target = uri;
    return opened.broker.end(failed(call, notFound("resource", uri)));
  };
  for (let i = 0; i < 62; i += 1) await read(`f:${i}`, true);
  for (let i = 0; i < 3; i += 1) await read(`f:${i}`, false);
  await opened.close();
  const [resolved, unresolved] = recordsOf(opened).filter(({ count }) => count !== undefined);
  expect([resolved?.srv, resolved?.tool, resolved?.count]).toEqual(["crm", undefined, 2]);
  expect([unresolved?.srv, unresolved?.tool, unresolved?.count]).toEqual([undefined, undefined, 3]);
});

test("the last refusal with its own record says that further ones are counted", async () => {
  await using opened = await openLog();
  for (let i = 0; i < 100; i += 1) await opened.broker.end(failed(callOf(), new Failure("denied", "Denied.")));
  const reasons = callsIn(opened).map(({ reason }) => reason);
  expect(reasons).toEqual([
    ...Array.from({ length: 59 }, () => "Denied."),
    "Denied. (further refusals of this caller are counted and recorded once a minute)",
  ]);
});

test("failed credentials leave one record with a count per minute and source, without the address", async () => {
  await using opened = await openLog();
  const fail = (ip: string, code: "unauthenticated" | "frozen" = "unauthenticated") =>
    opened.broker.end(failed(arriving({ ip }), new Failure(code, "who?")));
  const begun = timeText(Date.now() * 1000);
  for (let i = 0; i < 5; i += 1) await fail("192.0.2.7");
  await fail("192.0.2.8");
  for (let i = 0; i < 2; i += 1) await fail("192.0.2.7", "frozen");
  await opened.close();
  const failures = recordsOf(opened).filter(({ type }) => type === "auth.failed");
  expect(failures.map(({ count, st, code }) => [count, st, code])).toEqual([
    [1, "auth-failed", "unauthenticated"],
    [1, "auth-failed", "unauthenticated"],
    [4, "auth-failed", "unauthenticated"],
    [2, "auth-failed", "frozen"],
  ]);
  for (const { facts } of failures.slice(2)) {
    const times = [begun, facts?.["first"], facts?.["last"], timeText(Date.now() * 1000)];
    expect(times.map(String).toSorted()).toEqual(times as string[]);
  }
  expect(JSON.stringify(failures)).not.toContain("192.0.2");
  using reader = openReader({ state: opened.state, main: null });
  const stood = failures.map(({ src }) => valueOf(reader.subject("main", subjectIn(src) ?? "")));
  expect(stood).toEqual(["192.0.2.7", "192.0.2.8", "192.0.2.7", "192.0.2.7"]);
});

test("S25: more than 60 sessions of one principal per minute coalesce, opened and closed ones separately", async () => {
  await using opened = await openLog();
  const note = (type: "session.open" | "session.close", key: string) => {
    const of = { actor: `key:${key}`, key, consumer: "c" };
    const [opening, closing] = [{ client: null, revision: "2025-11-25" }, { reason: "idle" }] as const;
    return type === "session.open"
      ? opened.broker.recordEvent({ type, ...of, facts: { session: "s", ...opening } })
      : opened.broker.recordEvent({ type, ...of, facts: { session: "s", ...closing } });
  };
  for (let i = 0; i < 100; i += 1) await note("session.open", "noisy");
  for (let i = 0; i < 70; i += 1) await note("session.close", "noisy");
  await note("session.open", "calm");
  await opened.close();
  const all = recordsOf(opened);
  // Named as in the records of the session's calls.
  const noted = all.filter(({ caller, subj }) => caller === "noisy" && subj === "key:noisy");
  const count = (type: string) => noted.filter((one) => one.type === type).length;
  expect([count("session.open"), count("session.close")]).toEqual([61, 61]);
  expect(noted.every(({ consumer }) => consumer === "c")).toBe(true);
  expect(noted.map(({ facts }) => facts?.["count"]).filter(Boolean)).toEqual([40, 10]);
  expect(noted.flatMap(({ facts }) => Object.keys(facts ?? {})).slice(-3)).toEqual(["count", "first", "last"]);
  expect(all.filter(({ caller }) => caller === "calm")).toHaveLength(1);
});

test("P5: a session that would only be counted is also refused while the log accepts no records", async () => {
  await using opened = await openLog({}, { tick: 60_000 });
  const facts = { session: "s", client: null, revision: "2025-11-25" } as const;
  const open = () => opened.broker.recordEvent({ type: "session.open", actor: "key:a", facts });
  for (let i = 0; i < 61; i++) await open();
  expect(opened.broker.health().records).toBe(60);
  opened.faulty.full = new StoreFailed("disk full");
  expect(await reasonOf(opened.broker.begin(callOf()))).toMatchObject({ code: "audit-unavailable" });
  expect(await reasonOf(open())).toMatchObject({ code: "audit-unavailable" });
  opened.faulty.full = null;
  await opened.close();
  // The refused session is not counted either.
  expect(recordsOf(opened).filter(({ facts }) => facts?.["count"] !== undefined)).toMatchObject([
    { facts: { count: 1 } },
  ]);
});

test("P5 R8 counts and a clock step are recorded once the log accepts records again", async () => {
  const clock = handClock();
  await using opened = await openLog({}, { clock });
  const { broker, faulty } = opened;
  const refuse = () => broker.end(failed(callOf(), new Failure("denied", "no")));
  const fail = (ip: string) => broker.end(failed(arriving({ ip }), new Failure("unauthenticated", "who?")));
  for (let i = 0; i < 70; i += 1) await refuse();
  for (let i = 0; i < 5; i += 1) await fail("192.0.2.7");
  faulty.full = new StoreFailed("disk full");
  clock.advance(61_000_000);
  await until(() => !broker.health().ok, "the log is full");
  for (let i = 0; i < 30; i += 1) await refuse();
  await fail("192.0.2.8");
  clock.step(-3_600_000_000);
  await until(() => broker.health().backlog === 1, "the step was noticed");
  faulty.full = null;
  await until(() => recordsOf(opened).some(({ type }) => type === "clock.step"), "the step is on record");
  await opened.close();
  const counts = (type: string) =>
    recordsOf(opened)
      .filter((record) => record.type === type)
      .reduce((sum, { count = 1 }) => sum + count, 0);
  expect([counts("call.refused"), counts("auth.failed"), counts("clock.step")]).toEqual([100, 6, 1]);
});
