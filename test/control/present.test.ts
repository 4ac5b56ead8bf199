import { expect, test } from "bun:test";
import { members } from "../../src/audit/record.ts";
import { recordRows } from "../../src/control/present.ts";

test("R25: every member of a record is named in words, what happened first", () => {
  const names = recordRows({ ...members, leaf: "ab" }).map(([name]) => name);
  expect(names.join(", ")).toBe(
    "time, type, consumer, caller, roles, method, server, tool, status, code, rule, reason, cause, took, stands for, " +
      "details, source, principal, session, trace, request id, call, begun in record, arguments bytes, arguments cut, " +
      "result bytes, result cut, payloads, sandbox, policy digest, arguments digest, result digest, chain, record, " +
      "previous hash, hash, host, run, clock of run, version, format",
  );
  expect(new Set(names).size).toBe(names.length);
});

test("R25: a record's values are shown with their units, and what has no word under its own name", () => {
  expect(recordRows({ later: [1], constructor: "mine", us: 2_340_000, mono: 7, al: 22, st: "ok" })).toEqual([
    ["status", "ok"],
    ["took", "2.34 s"],
    ["arguments bytes", "22"],
    ["clock of run", "7 µs"],
    ["later", "[1]"],
    ["constructor", "mine"],
  ]);
});
