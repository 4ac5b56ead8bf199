import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Party, Tool } from "../../src/core/call.ts";
import { loopback, makeTool } from "../support/call.ts";
import { admin, ask, buildCatalog, lead, partyOf } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { policyOf } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

// Tools that only the caller's own instances offer.

const alice = principal("key:alice", ["admin"]);
const bob = principal("key:bob", ["admin"]);

/** A catalog whose servers offer these tools to single callers besides. */
function offering(own: Readonly<Record<string, Readonly<Record<string, readonly Tool[]>>>>, more: object = {}) {
  const ownTools = ({ who }: Party) => new Map(Object.entries(own[who.id] ?? {}));
  const toolsets = [{ id: "desk", include: ["crm:*"], exclude: ["crm:secret"], rename: { "crm:extra": "more" } }];
  const served = { crm: { tools: ["all"] }, free: { prefix: "none" as const, tools: ["bare"] } };
  return buildCatalog(served, { ownTools, toolsets, ...more });
}

const extra = makeTool("extra");
const catalog = offering({ "key:alice": { crm: [extra, makeTool("secret")], free: [makeTool("loose")] } });

describe("R2: what one caller's instance offers", () => {
  test.each([
    [null, ["bare", "crm__all", "crm__extra", "crm__secret", "loose"], "crm__extra"],
    ["crm", ["crm__all", "crm__extra", "crm__secret"], "crm__extra"],
    ["free", ["bare", "loose"], "loose"],
    ["desk", ["crm__all", "more"], "more"],
  ])("is listed to that caller and found by it, in scope %p", (scope, names, name) => {
    expect(ask(catalog, "tools", { who: alice, scope }).names).toEqual(names);
    expect(lead(catalog, "tool", name, { who: alice, scope }).wire).toBe(name);
    expect([alice, bob].map((who) => catalog.offers("tool", name, scope, partyOf(who)))).toEqual([true, false]);
    const firm = names.filter((each) => each === "bare" || each === "crm__all");
    expect(ask(catalog, "tools", { who: bob, scope }).names).toEqual(firm);
    expect(failureOf(() => lead(catalog, "tool", name, { who: bob, scope })).message).toBe(`Unknown tool: ${name}`);
  });

  test("is the same route each time, with the tool's schema", () => {
    const find = () => lead(catalog, "tool", "crm__extra", { who: alice });
    expect(find()).toBe(find());
    expect(find()).toMatchObject({ kind: "tool", server: "crm", name: "extra", canonical: "crm:extra", tool: extra });
  });

  test("is listed as rules allow, and comes in pages", () => {
    const policy = policyOf([], {
      admin: [
        { tool: "crm:secret", action: "deny" },
        { tool: "*", action: "allow" },
      ],
    });
    const own = { "key:alice": { crm: [extra, makeTool("secret")] } };
    const paged = offering(own, { policy, page: 2 });
    const first = ask(paged, "tools", { who: alice });
    expect(first.names).toEqual(["bare", "crm__all"]);
    expect(ask(paged, "tools", { who: alice, cursor: first.nextCursor }).names).toEqual(["crm__extra"]);
  });

  test("yields to what everybody is offered, and to each other, where names cannot be told apart", () => {
    const own = { crm: [makeTool("ALL"), makeTool("all"), makeTool("twin"), makeTool("TWIN"), makeTool("one")] };
    const { names, omitted } = ask(offering({ "key:alice": own }), "tools", { who: alice });
    expect(names).toEqual(["bare", "crm__all", "crm__one"]);
    expect(omitted).toBeUndefined();
  });

  test("changes the fingerprint of that caller alone, by scope", () => {
    const print = (who = alice, scope: string | null = null) => catalog.shownAlone(partyOf(who), loopback, scope);
    expect(print(bob)).toBe("");
    expect(new Set([print(), print(alice, "crm"), print(alice, "free"), print(alice, "desk")]).size).toBe(4);
  });
});

test("what one caller's instance offers changes nothing that another is shown or finds", () => {
  const name = fc.string({ unit: fc.constantFrom("a", "A", "l", "_", "b", "\u0430"), maxLength: 4 });
  const tools = fc.record({ crm: fc.array(name, { maxLength: 4 }), free: fc.array(name, { maxLength: 4 }) });
  const made = ({ crm, free }: { crm: string[]; free: string[] }) => ({
    crm: crm.map((each) => makeTool(each)),
    free: free.map((each) => makeTool(each)),
  });
  fc.assert(
    fc.property(tools, tools, (hers, his) => {
      const alone = offering({ "key:bob": made(his) });
      const both = offering({ "key:alice": made(hers), "key:bob": made(his) });
      expect(ask(both, "tools", { who: bob }).text).toBe(ask(alone, "tools", { who: bob }).text);
      expect(ask(both, "tools", { who: admin }).text).toBe(ask(alone, "tools", { who: admin }).text);
      const { names } = ask(both, "tools", { who: alice });
      expect(new Set(names.map((each) => each.toLowerCase())).size).toBe(names.length);
    }),
  );
});
