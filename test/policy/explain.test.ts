import { expect, test } from "bun:test";
import type { Route } from "../../src/core/call.ts";
import { makeRoute } from "../support/call.ts";
import { policyOf, type Rule } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

const all = { action: "allow" };
const none = { action: "deny" };
const mine = { "args.of": { eq: "${principal.consumerId}" } };
const allowsMine = { ...all, when: mine };
const near = { "source.loopback": { eq: true } };
const far = { "source.loopback": { eq: false } };

type Said = {
  rule?: string | null;
  reason?: string;
  listed?: boolean;
  allowed?: boolean;
  remedy?: string | null;
  elsewhere?: boolean;
};

const take = 'Calls are allowed if args.of eq "consumer-k1".';
const avoid = (where: string, missing = "missing, "): string =>
  `The rule denies calls if ${where} (or if a value is ${missing}unclear or of another type).`;
const leave = (arg: string): string => ` Leave out ${arg}: a server may read it as the argument that the rule tests.`;

/** `elsewhere`, whether another source may change the decision, is false unless a row says otherwise. */
const rows: [what: string, rules: Rule[], policy: Rule[], args: Record<string, unknown>, said: Said][] = [
  ["which calls are allowed", [], [allowsMine], {}, { listed: true, allowed: false, remedy: take }],
  ["which calls are denied", [{ ...none, when: mine }], [all], {}, { remedy: avoid('args.of eq "consumer-k1"') }],
  [
    "which arguments are allowed, but not to which caller",
    [],
    [{ ...all, when: { ...mine, "principal.id": { glob: "key:*" } } }],
    {},
    { remedy: take },
  ],
  [
    "an argument that may be read as the one that an allow tests",
    [],
    [allowsMine],
    { to: "y", of: "consumer-k1", Of: "x" },
    { remedy: take + leave("args.Of") },
  ],
  [
    "a nested argument that may be read as the one that a deny tests",
    [{ id: "no-prod", ...none, when: { "args.in.env": { eq: "prod" } } }],
    [all],
    { in: { env: "test", ENV: "x" } },
    { rule: "no-prod", remedy: avoid('args.in.env eq "prod"') + leave("args.in.ENV") },
  ],
  ["no remedy for an allowed call", [], [allowsMine], { of: "consumer-k1" }, { allowed: true, remedy: null }],
  [
    "only the arguments of reachable allows",
    [],
    [allowsMine, none, { ...all, when: { "args.never": { eq: 1 } } }],
    {},
    { remedy: take },
  ],
  [
    "what is allowed, and not what is denied",
    [],
    [{ ...none, when: { "args.to": { eq: "x" } } }, allowsMine],
    { to: "y" },
    { rule: null, remedy: take },
  ],
  [
    "the first of many allows",
    [],
    ["a", "b", "c", "d"].map((arg) => ({ ...all, when: { [`args.${arg}`]: { eq: 1 } } })),
    {},
    { remedy: "Calls are allowed if args.a eq 1, or if args.b eq 1, or if args.c eq 1." },
  ],
  [
    "a denial of a missing argument next to a present one",
    [{ ...none, when: { "args.of": { eq: "me" }, "args.to": { exists: true } } }],
    [all],
    { to: "you" },
    { remedy: avoid('args.of eq "me" and args.to exists') },
  ],
  [
    "a denial of present arguments, which does not deny missing ones",
    [{ ...none, when: { "args.of": { exists: true, neq: "me" }, "args.to": { exists: false } } }],
    [all],
    { of: "you" },
    { remedy: avoid('args.of neq "me" and exists and args.to does not exist', "") },
  ],
  [
    "a missing allow, and not a guardrail that other arguments pass",
    [{ ...none, id: "limit", when: { "args.amount": { gte: 100 } } }],
    [{ tool: "other", action: "allow" }],
    {},
    { rule: null, listed: false, allowed: false, remedy: null },
  ],
  ["no remedy if arguments do not matter", [none], [all], {}, { listed: false, remedy: null }],
  ["an allow for another source", [], [{ ...all, when: near }], {}, { listed: false, elsewhere: true }],
  [
    "a denial that another source escapes, and the rule that allows the call then",
    [{ id: "office", ...none, when: far }],
    [{ id: "mine", ...all }],
    {},
    {
      rule: "office",
      reason: "denied; from another source, possibly rule mine: allowed",
      allowed: false,
      elsewhere: true,
    },
  ],
  [
    "the rule that denies a call from any source, behind one that tests the source",
    [{ id: "office", ...none, when: far }],
    [{ id: "closed", ...none }],
    {},
    { rule: "office", reason: "denied; from another source, possibly rule closed: denied", allowed: false },
  ],
  [
    "a denial that does not apply to another source",
    [{ ...none, when: far }],
    [all],
    {},
    { allowed: false, elsewhere: true },
  ],
  [
    "guardrails that another source passes",
    [{ ...all, when: near, priority: 1 }, none],
    [all],
    {},
    { elsewhere: true },
  ],
  [
    "another source from which other arguments are allowed",
    [],
    [{ ...all, when: { ...mine, ...near } }],
    {},
    { listed: false, allowed: false, remedy: take, elsewhere: true },
  ],
  [
    "an allow for an unknown address",
    [],
    [{ ...all, when: { "source.ip": { exists: false } } }],
    {},
    { listed: false, allowed: false, elsewhere: true },
  ],
  [
    "a denial for a known address",
    [{ ...none, when: { "source.ip": { exists: true } } }],
    [all],
    {},
    { allowed: false, elsewhere: true },
  ],
  [
    "another source from which these arguments are also allowed",
    [],
    [allowsMine, { ...all, when: near }],
    {},
    { listed: true, allowed: false, elsewhere: true },
  ],
  ["a denial for every source", [none], [{ ...all, when: near }], {}, { listed: false }],
  ["an allow for every source", [], [all], {}, { listed: true, allowed: true }],
];

test.each(rows)("explain reports %s", (_what, rules, policy, args, said) => {
  const route = makeRoute("crm", "get");
  expect(policyOf(rules, { reader: policy }).explain(principal(), route, args)).toMatchObject({
    elsewhere: false,
    ...said,
  });
});

test("explain reports a denial by any reading of a URI, as decide does", () => {
  const rules = [{ ...none, resource: "*", when: { "args.uri": { glob: "file:///secret/*" } } }];
  const policy = policyOf(rules, { reader: [all] });
  const resource = (uri: string): Route => ({ ...makeRoute("files", uri), kind: "resource", tool: null });
  const explained = (uri: string): boolean => policy.explain(principal(), resource(uri), { uri }).allowed;
  expect(["file:///open/../secret/a", "file:///open/a"].map(explained)).toEqual([false, true]);
});

test("explain shows the rule's template for a value that the caller lacks", () => {
  const policy = policyOf([], { reader: [{ ...all, when: { "args.of": { eq: "${principal.keyId}" } } }] });
  const { remedy } = policy.explain({ ...principal(), keyId: null }, makeRoute("crm", "get"), {});
  expect(remedy).toBe('Calls are allowed if args.of eq "${principal.keyId}".');
});

test("explain reports which URIs of a template are allowed", () => {
  const policy = policyOf([], { reader: [{ ...all, resource: "file:///srv/*" }] });
  const template: Route = { ...makeRoute("files", "file:///{+path}"), kind: "resource", tool: null, template: true };
  const { remedy } = policy.explain(principal(), template, {});
  expect(remedy).toBe("Calls are allowed if the URI matches file:///srv/*.");
});
