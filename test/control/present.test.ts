import { expect, test } from "bun:test";
import { members } from "../../src/audit/record.ts";
import { bytes, clock, latency, line, recordCount } from "../../src/control/format.ts";
import { because, ending, recordRows, servedBy, subject } from "../../src/control/present.ts";
import { entry } from "../support/control-answers.ts";

test("R25: every member of a record has a name for people, in the order of what happened first", () => {
  const names = recordRows({ ...members, leaf: "ab" }).map(([name]) => name);
  expect(names.join(", ")).toBe(
    "time, type, consumer, caller, roles, method, server, tool, status, code, rule, reason, cause, took, count, " +
      "details, source, principal, session, trace, request id, call, begin record, argument bytes, arguments truncated, " +
      "result bytes, result truncated, payloads, sandbox, policy digest, arguments digest, result digest, chain, record, " +
      "previous hash, hash, host, run, run clock, version, format",
  );
  expect(new Set(names).size).toBe(names.length);
});

test("R25: a record's values are shown with units, and unknown members under their own name", () => {
  expect(recordRows({ later: [1], constructor: "mine", us: 2_340_000, mono: 7, al: 22, st: "ok" })).toEqual([
    ["status", "ok"],
    ["took", "2.34 s"],
    ["argument bytes", "22"],
    ["run clock", "7 µs"],
    ["later", "[1]"],
    ["constructor", "mine"],
  ]);
});

const event = { method: null, tool: null, status: null, rule: null } as const;

test.each([
  [{}, "files:read_file", "ok"],
  [{ method: null }, "files:read_file", "ok"],
  [{ method: "resources/read", tool: null }, "resources/read files", "ok"],
  [{ method: "tools/list", server: null, tool: null }, "tools/list", "ok"],
  [{ method: "tools/call", server: null, tool: "files:read_file" }, '"files:read_file"', "ok"],
  // For an extension, `tool` is the method.
  [{ method: "x/ask", tool: "x/ask" }, "files:x/ask", "ok"],
  [{ type: "call.begin", status: null }, "files:read_file", "begin"],
  [{ ...event, type: "server.crashed" }, "server.crashed files", "-"],
  [{ ...event, type: "key.created", server: null }, "key.created", "-"],
])("R25: the record %o has the subject %p and the ending %p", (over, about, end) => {
  expect([subject(entry(over)), ending(entry(over))]).toEqual([about, end]);
});

test.each([
  [{}, ""],
  [{ reason: "slow\ndisk" }, "slow disk"],
  [{ status: "denied", reason: "not for you" }, "reader-policy/1: not for you"],
  [{ status: "denied", reason: "reader-policy/1 says no" }, "reader-policy/1 says no"],
  [{ status: "denied" }, "reader-policy/1"],
  [{ status: "invalid", reason: "not for you" }, "not for you"],
  [{ ...event, facts: { server: "files", pol: "ab".repeat(32), tools: 3 } }, "pol=abababababab… tools=3"],
])("R25: why %o ended so is %p", (over, why) => {
  expect(because(entry(over))).toBe(why);
});

test("R24: an instance that is down serves one caller or all", () => {
  const down = { reason: "exited", until: 0, open: false };
  expect([servedBy({ ...down, owner: "key:a" }), servedBy({ ...down, owner: null })]).toEqual(["key:a", "all callers"]);
});

test("R25: quantities have a fitting unit, a time has all its digits, and a tab becomes one space", () => {
  expect([999, 1_000, 999_949, 1_000_000].map(latency)).toEqual(["999 µs", "1.0 ms", "999.9 ms", "1.00 s"]);
  expect([1_023, 1_024, 1024 ** 4, 1024 ** 5].map(bytes)).toEqual(["1023 B", "1.0 KiB", "1.0 TiB", "1024.0 TiB"]);
  expect([0, 1, 1_200].map(recordCount)).toEqual(["0 records", "1 record", "1,200 records"]);
  expect(clock(new Date(2026, 0, 1, 2, 3, 4, 5).getTime())).toBe("02:03:04.005");
  expect(line("a\tb\u001b")).toBe("a b\\u{1b}");
});
