import { expect, test } from "bun:test";
import type { Route } from "../../src/core/call.ts";
import { readInbound } from "../../src/mcp/classify.ts";
import { ArgumentsText } from "../../src/policy/arguments-text.ts";
import { makeCall, makeRoute } from "../support/call.ts";
import { policyOf, type Rule } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

const limits = { depth: 64, nodes: 1_000 };
const extension: Route = { ...makeRoute("crm", "acme/do"), kind: "extension", tool: null };

/** Reports whether a call with this text of arguments is allowed. */
function allows(rules: Rule[], args: string, route = makeRoute("crm", "pay")): boolean {
  const params = route.kind === "extension" ? args : `{"name":"crm__pay","arguments": ${args}}`;
  const method = route.kind === "extension" ? route.name : "tools/call";
  const text = `{"jsonrpc":"2.0","id":1,"method":"${method}","params": ${params}}`;
  const inbound = readInbound(text, limits, {
    headers: null,
    pinned: "legacy",
    revision: "2025-11-25",
  });
  try {
    policyOf([], { reader: rules }).decide(makeCall({ inbound }), principal(), route);
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: "denied" });
    return false;
  }
}

const capped: Rule[] = [{ when: { "args.n": { lte: 1000 } }, action: "allow" }];
const five: Rule[] = [{ when: { "args.n": { eq: 5 } }, action: "allow" }];
const open: Rule[] = [
  { when: { "args.n": { gt: 1000 } }, action: "deny" },
  { when: { "args.n": { exists: true } }, action: "allow" },
];

const spellings: [rules: Rule[], number: string, allowed: boolean][] = [
  ...["1000", "1000.0", "1e3", "1E+3", "0.1e4", "100000e-2", "10000000000000000000000e-19", "-0", "0.00", "0e99"].map(
    (text): [Rule[], string, boolean] => [capped, text, true],
  ),
  [capped, "0.1", true],
  [capped, "-1.5e-7", true],
  [capped, "1000.00000000000000001", false],
  [capped, "999.99999999999999999", false],
  [capped, "1e-400", false],
  [capped, "-1e400", false],
  [five, "5e0", true],
  [five, "50e-1", true],
  [five, "4.9999999999999999999", false],
  [five, "5.00000000000000000001", false],
  // A denial that cannot be evaluated matches; `exists` does not depend on the digits.
  [open, "1000", true],
  [open, "1000.00000000000000001", false],
];

test.each(spellings)("R6: %j decides on %s as the server reads it: %p", (rules, text, allowed) => {
  expect(allows(rules, `{"n":${text}}`)).toBe(allowed);
  expect(allows(rules, `{"n": ${text} }`, extension)).toBe(allowed);
});

test("R6: the text of a number is found at any path", () => {
  const rule = (path: string): Rule[] => [{ when: { [`args.${path}`]: { lte: 1000 } }, action: "allow" }];
  const rounded = "1000.00000000000000001";
  const places: [path: string, args: (n: string) => string][] = [
    ["a.b", (n) => `{"a":{"c":1,"b": ${n}}}`],
    ["a.1.b", (n) => `{"a": [ {"b":1}, {"b":${n}} ]}`],
    ["\u00e9", (n) => `{"\\u00e9":${n}}`],
    ["n", (n) => `{"o":{"n":1},"s":"\\"n\\":1","n":${n}}`],
  ];
  for (const [path, args] of places) {
    expect([path, allows(rule(path), args("1000"))]).toEqual([path, true]);
    expect([path, allows(rule(path), args(rounded))]).toEqual([path, false]);
  }
  expect(allows([{ when: { "args.n": { exists: true } }, action: "allow" }], `{"n":${rounded}}`)).toBe(true);
  expect(allows([{ when: { "args.m": { lte: 1 } }, action: "allow" }], `{"m":1,"n":${rounded}}`)).toBe(true);
});

test("a number that JSON.stringify or toExponential wrote is exact", () => {
  for (let i = 0; i < 2_000; i++) {
    const value = (Math.random() - 0.5) * 10 ** Math.floor(Math.random() * 600 - 300);
    for (const number of [JSON.stringify(value), value.toExponential()])
      expect([number, new ArgumentsText(`{"n":${number}}`, 0).means(value, "n")]).toEqual([number, true]);
  }
});
