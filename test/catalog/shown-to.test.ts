import { describe, expect, test } from "bun:test";
import { type Audience, nobody } from "../../src/core/audience.ts";
import type { ClientSession } from "../../src/core/call.ts";
import { noCapabilities } from "../../src/core/inbound.ts";
import { loopback, makeTool } from "../support/call.ts";
import { admin, ask, buildCatalog, lead } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { principal } from "../support/principal.ts";
import { noSubscriptions } from "../support/session.ts";

// Tools that a server does not show to everybody.

const to = (some: Partial<Audience>) => ({ shownTo: { ...nobody, ...some } });
const sessionOf = (id: string): ClientSession => ({
  id,
  owner: admin.id,
  revision: "2025-11-25",
  capabilities: noCapabilities,
  logLevel: null,
  ...noSubscriptions,
});
const other = principal("key:other", ["admin"]);
const [first, second] = [sessionOf("s1"), sessionOf("s2")];
const tools = [
  "all",
  { ...makeTool("asks"), ...to({ kinds: new Set(["elicitation"]) }) },
  { ...makeTool("mine"), ...to({ principals: new Set([admin.id]) }) },
  { ...makeTool("here"), ...to({ sessions: new Set(["s1"]) }) },
];
const catalog = buildCatalog({ crm: { tools } }, { toolsets: [{ id: "desk", include: ["crm:*"] }] });

const viewers = [
  ["its principal, without a session", { who: admin }, ["crm__all", "crm__mine"]],
  ["the session", { who: admin, session: first }, ["crm__all", "crm__here", "crm__mine"]],
  ["another session", { who: admin, session: second }, ["crm__all", "crm__mine"]],
  ["another principal", { who: other }, ["crm__all"]],
] as const;

describe.each(viewers)("R2: %s", (_, viewer, seen) => {
  test.each([null, "crm", "desk"])("is shown and finds its own, in scope %p", (scope) => {
    expect(ask(catalog, "tools", { ...viewer, scope }).names).toEqual([...seen]);
    for (const name of ["crm__mine", "crm__here"] as const) {
      const find = () => lead(catalog, "tool", name, { ...viewer, scope });
      if ((seen as readonly string[]).includes(name)) expect(find().wire).toBe(name);
      else expect(failureOf(find).message).toBe(`Unknown tool: ${name}`);
    }
  });
});

test("a tool that only some clients are shown can be called by all", () => {
  expect(ask(catalog, "tools", { who: other }).names).not.toContain("crm__asks");
  expect(lead(catalog, "tool", "crm__asks", { who: other }).name).toBe("asks");
});

test("such a tool takes no name from those that everybody is shown, in toolsets neither, and others do not hear of it", () => {
  const shadow = { ...makeTool("ALL"), ...to({ principals: new Set(["key:other"]) }) };
  const shadowing = buildCatalog(
    { crm: { tools: [...tools, shadow] } },
    { toolsets: [{ id: "desk", include: ["crm:*"], rename: { "crm:all": "crm__MINE" } }] },
  );
  for (const who of [admin, other]) {
    const { names, omitted } = ask(shadowing, "tools", { who });
    expect(names).toContain("crm__all");
    expect(omitted).toBeUndefined();
    expect(ask(shadowing, "tools", { who, scope: "desk" }).names).toContain("crm__MINE");
  }
  expect(shadowing.hidden().map(({ canonical }) => canonical)).toEqual(["crm:ALL", "crm:mine"]);
});

test("what one session is shown besides changes the fingerprint of that session alone", () => {
  const before = buildCatalog({ crm: { tools: tools.slice(0, 3) } });
  const prints = [before, catalog].map((of) =>
    [null, "s1", "s2"].map((session) => of.shown(admin, loopback, null, "tools", session)),
  );
  expect(prints[0]?.map((print, at) => print === prints[1]?.[at])).toEqual([true, false, true]);
  expect([catalog.isApart("s1"), catalog.isApart("s2"), before.isApart("s1")]).toEqual([true, false, false]);
});
