import { expect, test } from "bun:test";
import type { Capability } from "../../src/core/ports.ts";
import { remote } from "../support/call.ts";
import { policyOf } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

test("permits: conditions on the source apply as for calls", () => {
  const rule = { server: "mcpgw", action: "allow", when: { "source.loopback": { eq: true } } };
  const policy = policyOf([], { reader: [rule] });
  const may = (loopback: boolean) => policy.permits(principal(), "audit_all", { ...remote, loopback });
  expect([may(true), may(false)]).toEqual([true, false]);
});

test("permits: a condition on arguments never allows, because there are none", () => {
  const policy = policyOf([], { reader: [{ server: "mcpgw", action: "allow", when: { "args.x": { eq: 1 } } }] });
  expect(policy.permits(principal(), "metrics", remote)).toBe(false);
});

test("permits: capabilities of the gateway are tools of the server mcpgw", () => {
  const rules = {
    reader: [{ tool: "mcpgw:metrics", action: "allow" }],
    admin: [{ server: "mcpgw", action: "allow" }],
    all: [{ action: "allow" }],
  };
  const policy = policyOf([], rules);
  const can = (role: string, capability: Capability) => policy.permits(principal("key:a", [role]), capability, remote);
  expect([can("reader", "metrics"), can("reader", "status"), can("admin", "status")]).toEqual([true, false, true]);
  expect(can("all", "metrics")).toBe(false);
});
