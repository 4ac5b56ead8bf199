import { expect, test } from "bun:test";
import { subjectIn, valueOf } from "../../src/audit/subject.ts";
import { Failure } from "../../src/core/failure.ts";
import { timeText } from "../../src/core/time-text.ts";
import { openReader } from "../../src/store/sqlite/reader.ts";
import { until } from "../support/until.ts";
import { arriving, callOf, failed, handClock, openBroker, recordsOf, tempState, type TempState } from "./support.ts";

const calls = (at: TempState) => recordsOf(at).filter(({ type }) => type.startsWith("call."));

test("more than 60 refusals of one principal a minute coalesce, and the counts add up", async () => {
  using at = tempState();
  const clock = handClock();
  await using opened = await openBroker(at, {}, { clock });
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
  expect(calls(at).filter(({ consumer }) => consumer === "noisy")).toHaveLength(60);
  const over = timeText(clock.now());
  clock.advance(61_000_000);
  const counted = await until(() => {
    const found = calls(at).filter(({ count }) => count !== undefined);
    return found.length === 4 ? found : null;
  }, "counted refusals");
  const noisy = { caller: "noisy-1", subj: "key:noisy-1", consumer: "noisy" };
  const here = { ...noisy, src: "http:127.0.0.1" };
  expect(counted).toMatchObject([
    { ...here, st: "denied", code: "denied", count: 40, us: 20, al: 8 },
    { ...here, st: "rate_limited", code: "rate-limited", count: 7, us: 51 },
    { ...here, st: "invalid", code: "parse-error", count: 2 },
    { ...noisy, st: "invalid", code: "invalid-arguments", count: 2 },
  ]);
  // They came from two addresses.
  expect(counted[3]?.src).toBeUndefined();
  const [denied, limited] = calls(at).filter(({ count }) => count !== undefined);
  for (const facts of [denied?.facts, limited?.facts]) {
    const times = [begun, String(facts?.["first"]), String(facts?.["last"]), over];
    expect(times).toEqual([...new Set(times)].toSorted());
  }
  expect(calls(at).filter(({ consumer }) => consumer === "calm")).toHaveLength(1);
});

test("failed credentials leave one record a minute and source, counted, without the address", async () => {
  using at = tempState();
  const opened = await openBroker(at);
  const fail = (ip: string) => opened.broker.end(failed(arriving({ ip }), new Failure("unauthenticated", "who?")));
  for (let i = 0; i < 5; i += 1) await fail("192.0.2.7");
  await fail("192.0.2.8");
  await opened.close();
  const failures = recordsOf(at).filter(({ type }) => type === "auth.failed");
  expect(failures.map(({ count, st }) => [count, st])).toEqual([
    [1, "auth-failed"],
    [1, "auth-failed"],
    [4, "auth-failed"],
  ]);
  expect(JSON.stringify(failures)).not.toContain("192.0.2");
  const reader = openReader(at.state, null);
  const stood = failures.map(({ src }) => valueOf(reader.subject("main", subjectIn(src) ?? "")));
  reader.close();
  expect(stood).toEqual(["192.0.2.7", "192.0.2.8", "192.0.2.7"]);
});
