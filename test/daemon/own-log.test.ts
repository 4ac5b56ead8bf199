import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { createLogger } from "../../src/daemon/own-log.ts";
import { writtenLog } from "../support/written-log.ts";

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

function setUp() {
  const lines: Record<string, unknown>[] = [];
  const reader = { reads: true };
  let now = 0;
  const write = (line: string): boolean => {
    if (reader.reads) lines.push({ ...(JSON.parse(line) as object), t: undefined });
    return reader.reads;
  };
  const log = createLogger({ level: "warn", format: "json", write, clock: { now: () => now, mono: () => now } });
  /** Returns the lines written until a minute is over. */
  const nextMinute = () => {
    now += 60_000_000;
    jest.advanceTimersByTime(60_000);
    return lines.splice(0);
  };
  return { log, lines, reader, nextMinute };
}

test("R118 lines that callers can cause are limited to one per kind and minute, and one that counts the rest", () => {
  const { log, lines, nextMinute } = setUp();
  const fail = (call: string, code: string) => log.error("failed", { call, code, cause: "down" }, code);
  for (const call of ["1", "2", "3"]) fail(call, "lost");
  fail("4", "timeout");
  log.info("failed", {}, "lost");
  const failed = { level: "error", msg: "failed", cause: "down" };
  expect(lines.splice(0)).toEqual([
    { ...failed, call: "1", code: "lost" },
    { ...failed, call: "4", code: "timeout" },
  ]);
  expect(nextMinute()).toEqual([{ ...failed, code: "lost", count: 2 }]);
  fail("5", "lost");
  expect(lines).toEqual([]);
  expect(nextMinute()).toEqual([{ ...failed, call: "5", code: "lost", count: 1 }]);
  expect(nextMinute()).toEqual([]);
});

test("R118 a line without a kind is always written, and counted lines are written before the end", () => {
  const { log, lines } = setUp();
  for (let i = 0; i < 3; i += 1) log.warn("once more");
  for (let i = 0; i < 3; i += 1) log.warn("flood", {}, "");
  log.flush();
  expect(lines.map(({ msg, count }) => [msg, count])).toEqual([
    ["once more", undefined],
    ["once more", undefined],
    ["once more", undefined],
    ["flood", undefined],
    ["flood", 2],
  ]);
});

test("R118 lines that could not be written are counted before the next line that can", () => {
  const { log, lines, reader } = setUp();
  reader.reads = false;
  for (let i = 0; i < 3; i += 1) log.warn("unread");
  reader.reads = true;
  for (let i = 0; i < 2; i += 1) log.warn("read");
  expect(lines.map(({ msg, lines: lost }) => [msg, lost])).toEqual([
    ["log lines were lost because nobody read the log", 3],
    ["read", undefined],
    ["read", undefined],
  ]);
});

test("R118 T58 a JSON line stays valid whatever a name contains, without control or invisible characters", () => {
  const { lines: written, log } = writtenLog();
  const name = "a\u0007\u009b\u200b\u2028\ufeff\u{e0041}";
  log.warn("odd", { name });
  expect(written[0]).toMatch(/^[\u0020-\u007e]*\n$/);
  expect(JSON.parse(written[0] ?? "")).toMatchObject({ msg: "odd", name });
});

test("R118 T58 a text line stays one line whatever a name contains, without control or invisible characters", () => {
  const { lines: written, log } = writtenLog({ format: "text" });
  log.warn("odd\n2026-01-01T00:00:00.000Z error forged\u001b[2J", { name: "a\u0007\u009b\u200b\u2028\ufeff" });
  expect(written).toEqual([expect.stringMatching(/^[\u0020-\u007e\ufffd]*\n$/)]);
});

test("R118 a text line omits undefined facts, as a JSON line does", () => {
  const { lines: written, log } = writtenLog({ format: "text" });
  log.warn("changed", { added: "a", removed: undefined });
  expect(written).toEqual([expect.stringMatching(/ changed added="a"\n$/)]);
});

test("R118 the level and format can change at run time", () => {
  const { lines: written, log } = writtenLog();
  log.info("before");
  log.configure({ level: "info", format: "text" });
  log.info("after");
  log.configure({ level: "error", format: "json" });
  log.warn("beneath");
  log.error("last");
  expect(written).toEqual([expect.stringContaining(" info  after\n"), expect.stringContaining('"msg":"last"')]);
});
