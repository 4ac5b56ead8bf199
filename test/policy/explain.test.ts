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

const take = 'Allowed are calls where args.of eq "consumer-k1".';
const avoid = (where: string, missing = "missing, "): string =>
  `It denies calls where ${where} (or where that is ${missing}unclear or of another type).`;
const leave = (arg: string): string => ` Leave out ${arg}: a server may take it for the one that is tested.`;

/** `elsewhere`, whether another place may change what is decided, is false where a row does not say so. */
const rows: [what: string, rules: Rule[], policy: Rule[], args: Record<string, unknown>, said: Said][] = [
  ["which calls are allowed", [], [allowsMine], {}, { listed: true, allowed: false, remedy: take }],
  ["which calls are denied", [{ ...none, when: mine }], [all], {}, { remedy: avoid('args.of eq "consumer-k1"') }],
  [
    "what arguments are allowed, and not to whom",
    [],
    [{ ...all, when: { ...mine, "principal.id": { glob: "key:*" } } }],
    {},
    { remedy: take },
  ],
  [
    "which argument may be taken for the one that an allowing rule tests",
    [],
    [allowsMine],
    { to: "y", of: "consumer-k1", Of: "x" },
    { remedy: take + leave("args.Of") },
  ],
  [
    "which argument within others may be taken for the one that a denying rule tests",
    [{ id: "no-prod", ...none, when: { "args.in.env": { eq: "prod" } } }],
    [all],
    { in: { env: "test", ENV: "x" } },
    { rule: "no-prod", remedy: avoid('args.in.env eq "prod"') + leave("args.in.ENV") },
  ],
  ["nothing of a call that is allowed", [], [allowsMine], { of: "consumer-k1" }, { allowed: true, remedy: null }],
  [
    "only what an allow that is reached would take",
    [],
    [allowsMine, none, { ...all, when: { "args.never": { eq: 1 } } }],
    {},
    { remedy: take },
  ],
  [
    "what is allowed, not what is denied",
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
    { remedy: "Allowed are calls where args.a eq 1, or where args.b eq 1, or where args.c eq 1." },
  ],
  [
    "a denial of what is missing beside what is there",
    [{ ...none, when: { "args.of": { eq: "me" }, "args.to": { exists: true } } }],
    [all],
    { to: "you" },
    { remedy: avoid('args.of eq "me" and args.to exists') },
  ],
  [
    "a denial of what is there, which is none of what is missing",
    [{ ...none, when: { "args.of": { exists: true, neq: "me" }, "args.to": { exists: false } } }],
    [all],
    { of: "you" },
    { remedy: avoid('args.of neq "me" and exists and args.to does not exist', "") },
  ],
  [
    "the want of an allow, not of a guardrail that other arguments pass",
    [{ ...none, id: "limit", when: { "args.amount": { gte: 100 } } }],
    [{ tool: "other", action: "allow" }],
    {},
    { rule: null, listed: false, allowed: false, remedy: null },
  ],
  ["nothing that arguments change", [none], [all], {}, { listed: false, remedy: null }],
  ["an allow of another place", [], [{ ...all, when: near }], {}, { listed: false, elsewhere: true }],
  [
    "a denial that another source escapes, and the rule that allows the call then",
    [{ id: "office", ...none, when: far }],
    [{ id: "mine", ...all }],
    {},
    { rule: "office", reason: "denied; from another source, rule mine: allowed", allowed: false, elsewhere: true },
  ],
  [
    "the rule that denies a call from any source, behind one that tests the source",
    [{ id: "office", ...none, when: far }],
    [{ id: "closed", ...none }],
    {},
    { rule: "office", reason: "denied; from another source, rule closed: denied", allowed: false },
  ],
  ["guardrails that another place passes", [{ ...all, when: near, priority: 1 }, none], [all], {}, { elsewhere: true }],
  [
    "another place where other arguments are allowed",
    [],
    [{ ...all, when: { ...mine, ...near } }],
    {},
    { listed: false, allowed: false, remedy: take, elsewhere: true },
  ],
  [
    "an allow where nobody knows from where",
    [],
    [{ ...all, when: { "source.ip": { exists: false } } }],
    {},
    { listed: false, allowed: false, elsewhere: true },
  ],
  [
    "a denial where somebody may know from where",
    [{ ...none, when: { "source.ip": { exists: true } } }],
    [all],
    {},
    { allowed: false, elsewhere: true },
  ],
  [
    "another place where these arguments are allowed, too",
    [],
    [allowsMine, { ...all, when: near }],
    {},
    { listed: true, allowed: false, elsewhere: true },
  ],
  ["a denial wherever a call comes from", [none], [{ ...all, when: near }], {}, { listed: false }],
  ["an allow wherever a call comes from", [], [all], {}, { listed: true, allowed: true }],
];

test.each(rows)("an operator is told of %s", (_what, rules, policy, args, said) => {
  const route = makeRoute("crm", "get");
  expect(policyOf(rules, { reader: policy }).explain(principal(), route, args)).toMatchObject({
    elsewhere: false,
    ...said,
  });
});

test("an operator is told of a denial by any reading of a URI, as its caller would be", () => {
  const rules = [{ ...none, resource: "*", when: { "args.uri": { glob: "file:///secret/*" } } }];
  const policy = policyOf(rules, { reader: [all] });
  const resource = (uri: string): Route => ({ ...makeRoute("files", uri), kind: "resource", tool: null });
  const explained = (uri: string): boolean => policy.explain(principal(), resource(uri), { uri }).allowed;
  expect(["file:///open/../secret/a", "file:///open/a"].map(explained)).toEqual([false, true]);
});

test("an operator is told of what a caller lacks as the rule has it", () => {
  const policy = policyOf([], { reader: [{ ...all, when: { "args.of": { eq: "${principal.keyId}" } } }] });
  const { remedy } = policy.explain({ ...principal(), keyId: null }, makeRoute("crm", "get"), {});
  expect(remedy).toBe('Allowed are calls where args.of eq "${principal.keyId}".');
});

test("an operator is told which URIs of a template are allowed", () => {
  const policy = policyOf([], { reader: [{ ...all, resource: "file:///srv/*" }] });
  const template: Route = { ...makeRoute("files", "file:///{+path}"), kind: "resource", tool: null, template: true };
  const { remedy } = policy.explain(principal(), template, {});
  expect(remedy).toBe("Allowed are calls where the URI fits file:///srv/*.");
});
