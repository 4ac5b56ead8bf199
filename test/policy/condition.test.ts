import { expect, test } from "bun:test";
import type { Principal } from "../../src/core/principal.ts";
import { loopback } from "../support/call.ts";
import { ask, policyOf, type Rule } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

const allowAll = { action: "allow" };
// The results of JSON.parse for 9007199254740993 and 1e400.
const unsafe = 2 ** 53;
const infinite = Infinity;

const own = { "args.customerId": { eq: "${principal.consumerId}" } };
const me = principal("key:k1");
const keyless = { ...me, keyId: null };

const conditional: [law: string, when: Rule, args: unknown, outcome: string, who?: Principal][] = [
  ["R6 R35 own customer id", own, { customerId: "consumer-k1" }, "allow"],
  ["R6 another customer's id", own, { customerId: "consumer-k2" }, "deny"],
  ["known defect, conditions skipped without arguments: an allow does not match", own, undefined, "deny"],
  ["an allow with a missing argument does not match", own, {}, "deny"],
  ["an allow with a wrong type does not match", own, { customerId: ["consumer-k1"] }, "deny"],
  ["neq does not match a missing argument", { "args.x": { neq: "a" } }, {}, "deny"],
  ["an inherited property does not exist", { "args.constructor": { exists: true } }, {}, "deny"],
  ["the length of an array does not exist", { "args.a.length": { gt: 0 } }, { a: [1] }, "deny"],
  ["nested paths and array indexes", { "args.a.0.b": { eq: 1 } }, { a: [{ b: 1 }] }, "allow"],
  [
    "S27: an argument that a case-insensitive server may read differently cannot be evaluated",
    { "args.n": { eq: 1 } },
    { n: 1, N: 2 },
    "deny",
  ],
  [
    "S27: the absence of an argument that a case-insensitive server may find cannot be evaluated",
    { "args.n": { exists: false } },
    { N: 2 },
    "deny",
  ],
  ["S27: an argument in another case does not count as present", { "args.n": { exists: true } }, { N: 2 }, "deny"],
  [
    "an object compared with null has a wrong type and is not merely different",
    { "args.n": { neq: null } },
    { n: {} },
    "deny",
  ],
  ["an unsafe integer cannot be evaluated", { "args.n": { gt: 1 } }, { n: unsafe }, "deny"],
  ["infinity cannot be evaluated", { "args.n": { gt: 1 } }, { n: infinite }, "deny"],
  ["all operators must hold", { "args.n": { gt: 1, lt: 3 } }, { n: 3 }, "deny"],
  ["all paths must hold", { "args.n": { eq: 1 }, "args.m": { eq: 1 } }, { n: 1, m: 2 }, "deny"],
  ["arguments that are not an object", { "args.n": { exists: false } }, [], "allow"],
  [
    "wildcards in the caller's name do not widen a glob",
    { "args.p": { glob: "/${principal.name}/*" } },
    { p: "/x/1" },
    "deny",
    { ...me, name: "*" },
  ],
  ["a template in a glob", { "args.p": { glob: "/${principal.consumerId}/*" } }, { p: "/consumer-k1/1" }, "allow"],
  [
    "a value that the caller lacks does not fill a template",
    { "args.p": { eq: "${principal.keyId}" } },
    { p: "" },
    "deny",
    keyless,
  ],
  [
    "a value that the caller lacks is not different from anything",
    { "args.p": { neq: "${principal.keyId}" } },
    { p: "x" },
    "deny",
    keyless,
  ],
  [
    "a value that the caller lacks makes notIn fail",
    { "args.p": { notIn: ["y", "${principal.keyId}"] } },
    { p: "x" },
    "deny",
    keyless,
  ],
  [
    "a value that the caller lacks does not widen a glob",
    { "args.p": { glob: "${principal.keyId}*" } },
    { p: "x" },
    "deny",
    keyless,
  ],
  ["an unsafe integer is not different from any number", { "args.n": { neq: 5 } }, { n: unsafe }, "deny"],
  ["an unsafe integer is not equal to any number", { "args.n": { eq: unsafe } }, { n: unsafe }, "deny"],
  ["a string has no members", { "args.t.0": { exists: true } }, { t: "abc" }, "deny"],
  ["a string has no length", { "args.t.length": { gt: 0 } }, { t: "abc" }, "deny"],
  ["null has no members", { "args.t.a": { exists: true } }, { t: null }, "deny"],
  [
    "a rule that also depends on the caller is not listed for other callers",
    { "args.n": { eq: 1 }, "principal.id": { eq: "key:k2" } },
    { n: 1 },
    "hidden",
  ],
  [
    "a rule that also depends on the caller is not listed if that condition cannot be evaluated",
    { "args.n": { eq: 1 }, "principal.keyId": { neq: "k2" } },
    { n: 1 },
    "hidden",
    keyless,
  ],
];

test.each(conditional)("%s", (_law, when, args, outcome, who = me) => {
  expect(ask(policyOf([], { reader: [{ when, action: "allow" }] }), { args, who })).toStartWith(outcome);
});

const guarded: [law: string, when: Rule, args: unknown, outcome: string][] = [
  ["R6 a conditional deny matches", { "args.table": { eq: "users" } }, { table: "users" }, "deny"],
  ["R6 a conditional deny does not match", { "args.table": { eq: "users" } }, { table: "orders" }, "allow"],
  [
    "known defect, a conditional deny bypassed by omitting the parameter",
    { "args.table": { eq: "users" } },
    {},
    "deny",
  ],
  [
    "known defect, a conditional deny bypassed by sending no arguments",
    { "args.table": { eq: "users" } },
    undefined,
    "deny",
  ],
  ["a deny with a wrong type matches", { "args.table": { eq: "users" } }, { table: ["users"] }, "deny"],
  ["a deny with null matches", { "args.table": { eq: "users" } }, { table: null }, "deny"],
  ["a deny on an unsafe integer matches", { "args.n": { gt: 2 ** 60 } }, { n: unsafe }, "deny"],
  ["a deny on an overlong text matches", { "args.q": { regex: "drop" } }, { q: "x".repeat(70_000) }, "deny"],
  [
    "a deny by a costly pattern on a long text matches",
    { "args.q": { regex: "x{400}y" } },
    { q: "a".repeat(60_000) },
    "deny",
  ],
  ["a deny by a glob on an overlong text matches", { "args.q": { glob: "drop" } }, { q: "x".repeat(70_000) }, "deny"],
  [
    "a deny that another condition rules out does not match",
    { "args.table": { eq: "users" }, "args.mode": { eq: "w" } },
    { mode: "r" },
    "allow",
  ],
  [
    "S27: a deny matches if another key may be read as the tested one",
    { "args.t": { eq: "u" } },
    { t: "x", T: "u" },
    "deny",
  ],
  [
    "S27: a deny matches if another key comes before the tested one",
    { "args.t": { eq: "u" } },
    { T: "u", t: "x" },
    "deny",
  ],
  [
    "S27: a deny matches if only a key in another case is present",
    { "args.force": { exists: true } },
    { Force: true },
    "deny",
  ],
  [
    "S27: a deny matches with non-ASCII letters in another case",
    { "args.task": { exists: true } },
    { "ta\u017f\u212a": 1 },
    "deny",
  ],
  [
    "S27: a deny matches if an object on the path has another case",
    { "args.a.b": { exists: true } },
    { a: {}, A: { b: 1 } },
    "deny",
  ],
  [
    "S27: a deny matches if a server may parse a string as the object in it",
    { "args.filter.table": { exists: true, eq: "users" } },
    { filter: ' {"table":"users"}' },
    "deny",
  ],
  [
    "a string that is not JSON has no members",
    { "args.filter.table": { exists: true } },
    { filter: "table {}" },
    "allow",
  ],
  [
    "a key in another case that no condition tests does not matter",
    { "args.t": { eq: "u" } },
    { t: "x", Q: 1, q: 2 },
    "allow",
  ],
  ["exists limits a deny to present values", { "args.table": { exists: true, eq: "users" } }, {}, "allow"],
];

test.each(guarded)("%s", (_law, when, args, outcome) => {
  const policy = policyOf([{ when, action: "deny" }], { reader: [allowAll] });
  expect(ask(policy, { args })).toStartWith(outcome);
});

const operatorRows: [condition: Rule, value: unknown, match: boolean, wrong: unknown][] = [
  [{ eq: "a" }, "a", true, 1],
  [{ eq: "a" }, "b", false, true],
  [{ eq: null }, null, true, undefined],
  [{ eq: 1.5 }, 1.5, true, "1.5"],
  [{ neq: "a" }, "b", true, 1],
  [{ neq: "a" }, "a", false, null],
  [{ neq: null }, "x", true, undefined],
  [{ in: ["a", 1] }, 1, true, true],
  [{ in: ["a", 1] }, "b", false, {}],
  [{ in: [] }, "b", false, 1],
  [{ notIn: ["a"] }, "b", true, 1],
  [{ notIn: ["a"] }, "a", false, ["a"]],
  [{ regex: "^a+$" }, "aa", true, 1],
  [{ regex: "^a+$" }, "ab", false, null],
  [{ glob: "a*" }, "ab", true, 1],
  [{ glob: "a*" }, "b", false, []],
  [{ lt: 2 }, 1, true, "1"],
  [{ lt: 2 }, 2, false, null],
  [{ lte: 2 }, 2, true, "2"],
  [{ gt: 2 }, 3, true, true],
  [{ gt: 2 }, 2, false, {}],
  [{ gte: 2 }, 2, true, []],
  [{ exists: true }, null, true, undefined],
  [{ exists: false }, undefined, true, null],
];

test.each(operatorRows)("R6 operator %j on %j: %p; %j never helps", (condition, value, match, wrong) => {
  const when = { "args.v": condition };
  const allows = (v: unknown) =>
    ask(policyOf([], { reader: [{ when, action: "allow" }] }), { args: { v } }).startsWith("allow");
  const passes = (v: unknown) =>
    ask(policyOf([{ when, action: "deny" }], { reader: [allowAll] }), { args: { v } }).startsWith("allow");
  expect(allows(value)).toBe(match);
  // An empty list has nothing to compare with, so it cannot be evaluated either.
  if (JSON.stringify(condition) !== '{"in":[]}') expect(passes(value)).toBe(!match);
  expect(allows(wrong)).toBe(false);
  if (!("exists" in condition)) expect(passes(wrong)).toBe(false);
});

const proxied = { transport: "http", ip: "192.0.2.1", loopback: false, forwarded: true } as const;

test.each<[fact: string, value: unknown]>([
  ["principal.id", "key:k1"],
  ["principal.consumerId", "consumer-k1"],
  ["principal.keyId", "k1"],
  ["principal.name", "key:k1"],
  ["principal.method", "api-key"],
  ["source.ip", "192.0.2.1"],
  ["source.transport", "http"],
  ["source.loopback", false],
  ["source.forwarded", true],
  ["server.id", "crm"],
])("R6: %s is compared with its value: %p", (fact, value) => {
  const other = typeof value === "boolean" ? !value : "another";
  const allows = (eq: unknown) => ask(policyOf([], { reader: [{ when: { [fact]: { eq } }, action: "allow" }] }), asked);
  const denies = (eq: unknown) =>
    ask(policyOf([{ when: { [fact]: { eq } }, action: "deny" }], { reader: [allowAll] }), asked);
  const asked = { who: me, source: proxied };
  expect([allows(value), denies(other)]).toEqual(["allow reader-policy[0]", "allow reader-policy[0]"]);
  expect([allows(other), denies(value)]).toEqual(["hidden null", "hidden rules[0]"]);
});

test.each(["principal.keyId", "source.ip"])("R6: an absent %s is missing, and not null", (fact) => {
  const asked = { who: keyless, source: { ...loopback, ip: null } };
  const allows = (test: Rule) =>
    ask(policyOf([], { reader: [{ when: { [fact]: test }, action: "allow" }] }), asked).startsWith("allow");
  expect([{ exists: false }, { exists: true }, { eq: null }].map(allows)).toEqual([true, false, false]);
});
