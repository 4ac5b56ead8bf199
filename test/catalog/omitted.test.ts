import { expect, test } from "bun:test";
import { ask, buildCatalog, lead } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { policyOf } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

test("FIELD T61: incompletely known lists come before single items, and the last entry counts what is not named", () => {
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
  expect(ask(broken, "prompts").omitted).toBeUndefined();
});

const policy = policyOf([], {
  reader: [
    { tool: "get*", server: "crm", action: "allow" },
    { server: "down", tool: "get*", action: "allow" },
  ],
  admin: [{ action: "allow" }],
});
const catalog = buildCatalog(
  {
    crm: { tools: ["get"] },
    down: { stale: true, reason: "connect ECONNREFUSED" },
    stale: { stale: true, reason: "connect ECONNREFUSED", tools: ["get_old"] },
    secret: { stale: true, reason: "it is starting" },
    bare: { capabilities: {}, reason: "gone", stale: true },
  },
  { policy },
);

test.each([
  ["down__get_all", "admin", null],
  ["down:get_all", "admin", null],
  ["down__get_all", "reader", null],
  ["down__get_all", "reader", "down"],
] as const)("SEMANTICS 2: %s names a server that is down and was never listed, for %s at %p", (name, role, scope) => {
  const failure = failureOf(() => lead(catalog, "tool", name, { who: principal("key:x", [role]), scope }));
  expect([failure.code, failure.message]).toEqual([
    "upstream-down",
    'The server "down" is not available: connect ECONNREFUSED. The call did not run.',
  ]);
});
test.each([
  ["down__put", "reader", null],
  ["secret__get", "reader", null],
  ["down__get", "nobody", null],
  ["down__get", "admin", "crm"],
  ["stale__get", "admin", null],
  ["bare__get", "admin", null],
  ["down", "admin", null],
  ["gone__get", "admin", null],
] as const)("SEMANTICS 2: %s stays an unknown tool for %s at %p", (name, role, scope) => {
  const failure = failureOf(() => lead(catalog, "tool", name, { who: principal("key:x", [role]), scope }));
  expect([failure.code, failure.message]).toEqual(["unknown-tool", `Unknown tool: ${name}`]);
});

test.each([
  [128, "upstream-down"],
  [129, "unknown-tool"],
] as const)(
  "a tool with a name of %p characters on a server that is down and was never listed is refused as %s",
  (n, code) => {
    const name = `down__${"a".repeat(n)}`;
    expect(failureOf(() => lead(catalog, "tool", name, { who: principal("key:x", ["admin"]) })).code).toBe(code);
  },
);

test("FIELD T61: the list of a caller whose roles no policy names says so, and nothing else", () => {
  const catalog = buildCatalog({ crm: { tools: ["get"], missing: [{ list: "tools", name: "put", reason: "bad" }] } });
  const none = [{ reason: "no policy names a role of this caller" }];
  for (const roles of [[], ["nobody"]])
    expect(ask(catalog, "tools", { who: principal("key:x", roles) })).toMatchObject({ names: [], omitted: none });
});
