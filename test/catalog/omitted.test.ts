import { expect, test } from "bun:test";
import { ask, buildCatalog } from "../support/catalog.ts";
import { principal } from "../support/principal.ts";

test("FIELD T61: a list that is not known in full comes before things, and the last entry says how many are not named", () => {
  const bad = Array.from({ length: 30 }, (_, at) => ({ list: "tools", name: `get_${at}`, reason: "bad" }) as const);
  const cut = [{ list: "tools", name: null, reason: "its tools/list was cut off: more than 100 pages" }] as const;
  const crm = { tools: ["get"], missing: [...bad, ...cut] };
  const toolsets = [{ id: "desk", include: ["crm:get"] }];
  const broken = buildCatalog({ crm, other: { tools: ["a"] } }, { toolsets });
  const note = { server: "crm", reason: "its tools/list was cut off: more than 100 pages" };
  for (const who of [undefined, principal()]) {
    const omitted = ask(broken, "tools", who && { who }).omitted as unknown[];
    expect(omitted.slice(0, 2)).toEqual([note, { server: "crm", name: "get_0", reason: "bad" }]);
    expect(omitted.slice(-2)).toEqual([{ server: "crm", name: "get_18", reason: "bad" }, { reason: "and 11 more" }]);
  }
  expect(ask(broken, "tools", { scope: "desk" }).omitted).toEqual([note]);
  expect(ask(broken, "tools", { scope: "other" }).omitted).toBeUndefined();
  expect(ask(broken, "tools", { who: principal("key:x", []) }).omitted).toBeUndefined();
  expect(ask(broken, "prompts").omitted).toBeUndefined();
});
