import { expect, test } from "bun:test";
import { createPolicy } from "../../src/policy/policy.ts";
import { policyOf, type Rule } from "../support/policy.ts";

test("the digest depends on the rules, and not on how they are written", () => {
  const digest = (rule: Rule) => policyOf([rule]).digest;
  expect(digest({ tool: "a", action: "deny" })).toBe(digest({ action: "deny", tool: "a" }));
  expect(digest({ tool: "a", action: "deny" })).not.toBe(digest({ tool: "b", action: "deny" }));
  expect(digest({ tool: "a", action: "deny" })).toMatch(/^[0-9a-f]{64}$/);
  const [a, b] = [{ "args.a": { eq: 1 } }, { "args.b": { eq: 1 } }];
  expect(digest({ when: { ...a, ...b }, action: "deny" })).toBe(digest({ when: { ...b, ...a }, action: "deny" }));
  const ofRoles = (...roles: string[]) =>
    createPolicy({ rules: [], policies: [{ id: "p", roles, rules: [{ when: {}, action: "deny" }] }] }).digest;
  expect(ofRoles("a", "b")).toBe(ofRoles("b", "a"));
});
