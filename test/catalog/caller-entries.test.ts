import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Party, Tool } from "../../src/core/call.ts";
import { noCapabilities } from "../../src/core/inbound.ts";
import type { Policy } from "../../src/core/ports.ts";
import type { Principal } from "../../src/core/principal.ts";
import { makeTool } from "../support/call.ts";
import { admin, ask, buildCatalog, lead, partyOf, usual } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { policyOf } from "../support/policy.ts";
import { principal } from "../support/principal.ts";
import { clientSession } from "../support/session.ts";

// Tools that only the caller's own instances offer.

const alice = principal("key:alice", ["admin"]);
const bob = principal("key:bob", ["admin"]);

/** A catalog whose servers also offer these tools to single callers. */
function offering(own: Readonly<Record<string, Readonly<Record<string, readonly Tool[]>>>>, more: object = {}) {
  const callerTools = ({ who }: Party) => new Map(Object.entries(own[who.id] ?? {}));
  const toolsets = [{ id: "desk", include: ["crm:*"], exclude: ["crm:secret"], rename: { "crm:extra": "more" } }];
  const served = { crm: { tools: ["all"] }, free: { prefix: "none" as const, tools: ["bare"] } };
  return buildCatalog(served, { callerTools, toolsets, ...more });
}

const extra = makeTool("extra");
const catalog = offering({ "key:alice": { crm: [extra, makeTool("secret")], free: [makeTool("loose")] } });

describe("R2: what one caller's instance offers", () => {
  test.each([
    [null, ["bare", "crm__all", "crm__extra", "crm__secret", "loose"], "crm__extra"],
    ["crm", ["crm__all", "crm__extra", "crm__secret"], "crm__extra"],
    ["free", ["bare", "loose"], "loose"],
    ["desk", ["crm__all", "more"], "more"],
  ])("is listed for that caller and can be called by it, in scope %p", (scope, names, name) => {
    expect(ask(catalog, "tools", { who: alice, scope }).names).toEqual(names);
    expect(lead(catalog, "tool", name, { who: alice, scope }).wire).toBe(name);
    expect([alice, bob].map((who) => catalog.offers("tool", name, scope, partyOf(who)))).toEqual([true, false]);
    const firm = names.filter((each) => each === "bare" || each === "crm__all");
    expect(ask(catalog, "tools", { who: bob, scope }).names).toEqual(firm);
    expect(failureOf(() => lead(catalog, "tool", name, { who: bob, scope })).message).toBe(`Unknown tool: ${name}`);
  });

  test("is named by its name in the scope to that caller, if it uses the canonical name", () => {
    const said = (name: string, scope: string | null, who: Principal): string =>
      failureOf(() => lead(catalog, "tool", name, { who, scope })).message.replace(`Unknown tool: ${name}`, "");
    const advice = (name: string): string => `; its name for MCP clients is ${name}`;
    expect(said("crm:extra", null, alice)).toBe(advice("crm__extra"));
    expect(said("crm:extra", "desk", alice)).toBe(advice("more"));
    expect([said("crm:extra", null, bob), said("crm:secret", "desk", alice), said("crm:extra", "free", alice)]).toEqual(
      ["", "", ""],
    );
  });

  test("has the same route each time, with the tool's schema", () => {
    const find = () => lead(catalog, "tool", "crm__extra", { who: alice });
    expect(find()).toBe(find());
    expect(find()).toMatchObject({ kind: "tool", server: "crm", name: "extra", canonical: "crm:extra", tool: extra });
  });

  test("is listed as rules allow, and in pages", () => {
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

  test("is left out if its name cannot be distinguished from that of a common tool or of another such tool", () => {
    const own = { crm: [makeTool("ALL"), makeTool("all"), makeTool("twin"), makeTool("TWIN"), makeTool("one")] };
    const { names, omitted } = ask(offering({ "key:alice": own }), "tools", { who: alice });
    expect(names).toEqual(["bare", "crm__all", "crm__one"]);
    expect(omitted).toBeUndefined();
  });

  test("is called by its name even if other clients are shown another tool of that name", () => {
    const shy = { ...makeTool("loose"), shownTo: new Set(['{"roots":{}}']) };
    const served = { shy: { prefix: "none" as const, tools: [shy] }, free: { prefix: "none" as const } };
    const callerTools = () => new Map([["free", [makeTool("loose")]]]);
    const catalog = buildCatalog(served, { callerTools });
    expect(ask(catalog, "tools").names).toEqual(["loose"]);
    expect(lead(catalog, "tool", "loose").server).toBe("free");
  });

  test("is found only by clients that declare what its server requires, and by clients without a session or capabilities", () => {
    const shy = { ...makeTool("shy"), shownTo: new Set(['{"roots":{}}']) };
    const catalog = buildCatalog({ crm: { tools: [shy] } });
    const clients = [{ roots: {} }, { sampling: {} }, {}].map((value) => ({ text: JSON.stringify(value), value }));
    const offered = (party: Party) => catalog.offers("tool", "crm__shy", null, party);
    const party = partyOf(bob);
    const sessions = [noCapabilities, ...clients].map((declared) => clientSession("s", declared));
    expect(sessions.map((session) => offered({ ...party, session, capabilities: session.capabilities }))).toEqual([
      false,
      true,
      false,
      false,
    ]);
    expect(clients.map((capabilities) => offered({ ...party, capabilities }))).toEqual([true, false, false]);
    expect(offered(party)).toBe(true);
    const refused = failureOf(() => lead(catalog, "tool", "crm__shy", { session: clientSession("s") }));
    expect(refused.message).toBe("Unknown tool: crm__shy");
  });

  test("is listed for each of one caller's clients according to what that client declares", () => {
    const shy = { ...makeTool("shy"), shownTo: new Set(['{"roots":{}}']) };
    const catalog = buildCatalog({ crm: { tools: [shy] } });
    const listed = [{ roots: {} }, { sampling: {} }, { roots: {} }].map((value) =>
      catalog
        .tools({ ...partyOf(bob, null), capabilities: { text: JSON.stringify(value), value } })
        .map(({ wire }) => wire),
    );
    expect(listed).toEqual([["crm__shy"], [], ["crm__shy"]]);
  });

  test("changes the fingerprint only for that caller, by scope", () => {
    const common = offering({});
    for (const scope of [null, "crm", "free", "desk"]) {
      const print = (of: typeof catalog, who: Principal) => of.shown(partyOf(who, scope), "tools");
      expect([alice, bob].map((who) => print(catalog, who) === print(common, who))).toEqual([false, true]);
    }
  });

  test("leads to the same listing for that caller once the tool is offered to everybody", () => {
    const callerTools = () => new Map([["crm", [extra]]]);
    const alone = buildCatalog({ crm: { tools: ["all"] } }, { callerTools });
    const both = buildCatalog({ crm: { tools: ["all", "extra"] } }, { callerTools });
    const common = buildCatalog({ crm: { tools: ["all", "extra"] } });
    const [first, ...others] = [alone, both, common].map((each) => each.shown(partyOf(alice), "tools"));
    expect(others).toEqual([first!, first!]);
  });

  test("is not offered if the tool of that name is withheld from everybody because of a name collision", () => {
    const bare = { prefix: "none" as const, tools: ["twin"] };
    const callerTools = () => new Map([["crm", [makeTool("twin")]]]);
    expect(ask(buildCatalog({ crm: bare, free: bare }, { callerTools }), "tools").names).toEqual([]);
  });

  test("FIELD T13: includes the app of a tool, for that caller only, unless two servers name the app or another one lists it", () => {
    const uri = "ui://shop/cart";
    const text = JSON.stringify({ name: "buy", _meta: { ui: { resourceUri: uri } } });
    const buy = () => [{ ...makeTool("buy"), text }];
    const own = { "key:alice": { crm: buy() }, "key:bob": { crm: buy(), free: buy() } };
    const callerTools = ({ who }: Party) => new Map(Object.entries(own[who.id as keyof typeof own] ?? {}));
    const served = { crm: { resources: ["crm://a"] }, free: { resources: ["free://a"] } };
    const catalog = buildCatalog(served, { callerTools });
    const refusal = (who: Principal) => failureOf(() => lead(catalog, "resource", uri, { who }));
    expect(lead(catalog, "resource", uri, { who: alice })).toMatchObject({ server: "crm", name: uri, wire: uri });
    expect([alice, admin].map((who) => catalog.offers("resource", uri, null, partyOf(who)))).toEqual([true, false]);
    expect(refusal(admin).code).toBe("unknown-resource");
    expect(refusal(bob).detail.data).toMatchObject({ servers: ["crm", "free"] });
    const listed = buildCatalog({ ...served, free: { resources: [uri] } }, { callerTools });
    for (const who of [alice, admin]) expect(lead(listed, "resource", uri, { who }).server).toBe("free");
  });

  test("is forgotten once no longer offered, and kept unchanged while other callers come", () => {
    let offers: readonly Tool[] = [extra];
    const more = [makeTool("more")];
    const callerTools = ({ session }: Party) =>
      new Map([["crm", offers], ...(session ? ([["free", more]] as const) : [])]);
    const catalog = buildCatalog({ crm: {}, free: {} }, { callerTools });
    const route = lead(catalog, "tool", "crm__extra");
    const session = clientSession("s");
    expect(lead(catalog, "tool", "free__more", { session }).tool).toBe(more[0]!);
    expect(lead(catalog, "tool", "crm__extra", { session })).toBe(route);
    const kept: WeakRef<readonly Tool[]>[] = [];
    for (let i = 0; i < 20; i++) {
      kept.push(new WeakRef((offers = [makeTool(`gone-${i}`)])));
      expect(ask(catalog, "tools").names).toEqual([`crm__gone-${i}`]);
    }
    Bun.gc(true);
    // One or two may still be referenced from the stack.
    expect(kept.filter((each) => each.deref()).length).toBeLessThan(5);
  });
});

test("T12: the lists of all callers with tools of their own share one limit; the oldest is made again", () => {
  const long = { ...makeTool("long"), text: JSON.stringify({ name: "long", description: "x".repeat(1024 ** 2) }) };
  const callers = Array.from({ length: 40 }, (_, at) => principal(`key:${at}`, ["admin"]));
  const own = new Map(callers.map(({ id }) => [id, new Map([["crm", [makeTool("extra")]]])]));
  let decisions = 0;
  const policy: Policy = { ...usual, lists: (...given) => (decisions++, usual.lists(...given)) };
  const callerTools = ({ who }: Party) => own.get(who.id)!;
  const catalog = buildCatalog({ crm: { tools: [long] } }, { policy, callerTools });
  const decided = (who: Principal): number => {
    decisions = 0;
    expect(ask(catalog, "tools", { who }).names).toEqual(["crm__extra", "crm__long"]);
    return decisions;
  };
  const [first] = callers;
  for (const who of callers) decided(who);
  expect([decided(callers.at(-1)!), decided(first!)]).toEqual([0, 2]);
});

test("what one caller's instance offers does not change what another caller is shown or finds", () => {
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
