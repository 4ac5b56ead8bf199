import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { assignNames, fitName, skeleton } from "../../src/catalog/names.ts";
import type { Tool } from "../../src/core/call.ts";
import type { Failure } from "../../src/core/failure.ts";
import type { Era } from "../../src/core/inbound.ts";
import type { Catalog, Policy } from "../../src/core/ports.ts";
import type { Prefix } from "../../src/core/options.ts";
import { policiesOptions } from "../../src/policy/options.ts";
import { createPolicy } from "../../src/policy/policy.ts";
import { loopback, makeCall, makeTool } from "../support/call.ts";
import { admin, ask, buildCatalog, type BuildOptions, lead, usual as policy } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { principal } from "../support/principal.ts";

type Offered = Record<string, (string | Tool)[] | { prefix: Prefix; tools: (string | Tool)[] }>;

function build(offered: Offered, options: BuildOptions = {}) {
  const served = Object.entries(offered).map(
    ([id, each]) => [id, Array.isArray(each) ? { tools: each } : each] as const,
  );
  return buildCatalog(Object.fromEntries(served), options);
}

const listed = (catalog: Catalog, who = admin, source = loopback, era: Era = "legacy"): string =>
  ask(catalog, "tools", { who, source, era }).text;

const wires = (offered: Offered) =>
  build(offered)
    .routes("tools", null)
    .map((route) => route.wire);
const missing = (offered: Offered) =>
  build(offered)
    .missing(null)
    .map(({ canonical }) => canonical)
    .toSorted();

describe("names on the wire", () => {
  const free = (...tools: string[]) => ({ prefix: "none" as const, tools });
  const conflict = (...tools: string[]) => ({ prefix: "on-conflict" as const, tools });
  const rows: [what: string, offered: Offered, names: string[], gone: string[]][] = [
    ["D11 prefixed", { crm: ["get"], files: ["get"] }, ["crm__get", "files__get"], []],
    ["prefix none", { crm: free("get") }, ["get"], []],
    [
      "equal names with prefix none: all missing",
      { crm: free("get", "x"), files: free("get") },
      ["x"],
      ["crm:get", "files:get"],
    ],
    ["on-conflict without conflict", { crm: conflict("get"), files: conflict("put") }, ["get", "put"], []],
    ["on-conflict with a conflict", { crm: conflict("get"), files: conflict("get") }, ["crm__get", "files__get"], []],
    ["on-conflict gives way to none", { crm: conflict("get"), files: free("get") }, ["crm__get", "get"], []],
    [
      "on-conflict counts look-alikes",
      { crm: conflict("get"), files: conflict("Get") },
      ["crm__get", "files__Get"],
      [],
    ],
    ["FIELD T56 S41 case pairs: both missing", { crm: ["get", "Get", "put"] }, ["crm__put"], ["crm:Get", "crm:get"]],
    [
      "S41 a Cyrillic look-alike: both missing",
      { crm: ["read_file", "read_f\u0456le"] },
      [],
      ["crm:read_file", "crm:read_f\u0456le"],
    ],
    ["S41 a zero-width look-alike", { crm: ["get", "g\u200bet"] }, [], ["crm:get", "crm:g\u200bet"]],
    [
      "S41 a look-alike behind many invisible characters",
      { crm: ["get", `${"\u200b".repeat(200)}g\uff45t`] },
      [],
      ["crm:get", `crm:${"\u200b".repeat(200)}g\uff45t`],
    ],
    ["S41 a look-alike with a filler", { crm: ["get", "get\u3164"] }, [], ["crm:get", "crm:get\u3164"]],
    ["S41 a look-alike with a blank Braille pattern", { crm: ["get", "get\u2800"] }, [], ["crm:get", "crm:get\u2800"]],
    ["S41 a full-width look-alike", { crm: ["get", "\uff47et"] }, [], ["crm:get", "crm:\uff47et"]],
    ["one name twice in a list", { crm: ["get", "get", "put"] }, ["crm__put"], ["crm:get", "crm:get"]],
    [
      "S41 a bare name with the prefix of another server",
      { crm: ["get"], evil: free("crm__get", "CRM__put") },
      ["crm__get"],
      ["evil:CRM__put", "evil:crm__get"],
    ],
    [
      "S41 a bare name with the prefix of a server that lists nothing now",
      { crm: [], evil: free("crm__get") },
      [],
      ["evil:crm__get"],
    ],
    [
      "S41 a bare name that gets the prefix of another server when it is sanitized",
      { crm: ["get"], evil: free("crm..put", "crm/_drop", "mcpgw. call", "crm.") },
      ["crm__get"],
      ["evil:crm.", "evil:crm..put", "evil:crm/_drop", "evil:mcpgw. call"],
    ],
    [
      "the gateway's own names cannot be taken",
      { mcpgw: ["usage"], evil: free("mcpgw__usage", "mcpgw__x") },
      ["mcpgw__usage"],
      ["evil:mcpgw__usage", "evil:mcpgw__x"],
    ],
    [
      "a bare name that pretends to be prefixed gets its own prefix",
      { crm: ["get"], evil: conflict("crm__put") },
      ["crm__get", "evil__crm__put"],
      [],
    ],
  ];
  test.each(rows)("%s", (_what, offered, names, gone) => {
    expect(wires(offered)).toEqual(names);
    expect(missing(offered)).toEqual(gone.toSorted());
  });

  test("only the beginning of a long name is compared by appearance, since that takes time", () => {
    const look = (at: number, name: string): string => skeleton("\uff47".repeat(at) + name);
    expect(look(127, "\u00c9")).toBe(look(127, "\u00e9"));
    expect(look(128, "\u00c9")).not.toBe(look(128, "\u00e9"));
  });

  test("the advice names a prefix only if that distinguishes the names: not for two names of one server", () => {
    const advice = (offered: Offered) => [
      ...new Set(
        build(offered)
          .missing(null)
          .map(({ reason }) => reason.split("; ")[1]),
      ),
    ];
    expect(advice({ crm: ["get", "Get"] })).toEqual(["rename one of them on its server"]);
    expect(advice({ crm: free("get", "Get") })).toEqual(["rename one of them on its server"]);
    expect(advice({ crm: free("get"), files: free("Get") })).toEqual([
      "set prefix: always, or rename one of them on its server",
    ]);
  });

  test("FIELD T55: every name is valid for every client, and a changed name has a hash of its canonical name", () => {
    const odd = ["with.dot", "a/b", "sp ace", "crm:get", "né", "😀", "x".repeat(200), "ok-1_A"];
    const names = wires({ crm: odd });
    expect(names).toHaveLength(odd.length);
    for (const name of names) expect(name).toMatch(/^[A-Za-z0-9_-]{1,50}$/);
    expect(names).toContain("crm__ok-1_A");
    expect(names.filter((name) => /_[0-9a-f]{8}$/.test(name))).toHaveLength(odd.length - 1);
  });

  test("a name does not depend on what else is loaded", () => {
    const alone = wires({ crm: ["a.b"] });
    expect(wires({ crm: ["a.b", "a_b", "a/b"], files: ["a.b"] })).toContain(alone[0] ?? "");
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 100 }), fc.integer({ min: 20, max: 128 }), (tool, max) => {
        const name = fitName(`crm__${tool}`, `crm:${tool}`, max);
        expect(name).toMatch(/^[A-Za-z0-9_-]+$/);
        expect(name.length).toBeLessThanOrEqual(max);
        expect(name === `crm__${tool}` || /_[0-9a-f]{8}$/.test(name)).toBe(true);
      }),
    );
  });

  test("FIELD T29: no two tools ever share a name, ignoring case", () => {
    const candidate = fc.record({
      server: fc.constantFrom("a", "b", "a-b"),
      prefix: fc.constantFrom<Prefix>("always", "none", "on-conflict"),
      name: fc.string({ unit: fc.constantFrom("a", "A", "_", "-", ".", "\u0430"), maxLength: 5 }),
    });
    fc.assert(
      fc.property(fc.array(candidate, { maxLength: 12 }), (candidates) => {
        const names = [...assignNames(candidates, ["mcpgw", "a", "b", "a-b"], 20).values()].flatMap((named) =>
          typeof named === "string" ? [named.toLowerCase()] : [],
        );
        expect(new Set(names).size).toBe(names.length);
      }),
    );
  });
});

describe("resolve", () => {
  const catalog = build({ crm: ["get.all", "put"], none: [] });
  const resolve = (name: unknown) => {
    const call = Object.assign(makeCall(), { who: admin });
    Object.assign(call.inbound.params, { name });
    return { call, route: () => catalog.resolve(call, "tool", name) };
  };
  test("FIELD T57: a wire name maps back exactly to the server's own name", () => {
    const [route] = catalog.routes("tools", null);
    const resolved = resolve(route?.wire);
    expect(resolved.route()).toMatchObject({
      server: "crm",
      tool: { name: "get.all" },
      canonical: "crm:get.all",
    });
    expect(resolved.call.target).toBe("crm:get.all");
    expect(catalog.find("crm:get.all")).toBe(route!);
  });
  test.each(["", "*", "crm", "crm__", "crm__*", "crm:gone", "CRM__put", "crm__get.all", "put", "__proto__"])(
    "S32: %p is an unknown name and does not match more",
    (name) => {
      const { call, route } = resolve(name);
      const failure = failureOf(route);
      expect([failure.code, failure.message, failure.detail]).toEqual(["unknown-tool", `Unknown tool: ${name}`, {}]);
      expect(call.verdict?.rule).toBeNull();
      expect(call.target).toBe(name);
    },
  );
  test("a tool under its canonical name is unknown; only a caller that may use it is told its name", () => {
    const { call, route } = resolve("crm:put");
    const name = "its name for MCP clients is crm__put";
    expect(failureOf(route)).toMatchObject({ code: "unknown-tool", message: `Unknown tool: crm:put; ${name}` });
    expect(call).toMatchObject({ target: "crm:put", verdict: { rule: null, reason: name } });
    call.who = principal("key:other", ["nobody"]);
    expect(failureOf(route).message).toBe("Unknown tool: crm:put");
    expect(call.verdict?.reason).toBe("there is no such tool");
  });
  test.each([
    ["desk", "; its name for MCP clients is find"],
    ["all", "; its name for MCP clients is crm__get"],
    ["files", ""],
  ])("a call by canonical name in scope %p is refused with the name that the tool has there", (scope, advice) => {
    const toolsets = [
      { id: "desk", include: ["crm:*"], rename: { "crm:get": "find" } },
      { id: "all", include: ["*:*"] },
    ];
    const scoped = build({ crm: ["get"], files: ["put"] }, { toolsets });
    const asked = failureOf(() => lead(scoped, "tool", "crm:get", { scope }));
    expect(asked.message).toBe(`Unknown tool: crm:get${advice}`);
  });
  test.each(["", "*", "crm", "crm:*", "none:x", "*:put"])("S32: finding %p returns nothing", (name) =>
    expect(catalog.find(name)).toBeNull(),
  );
  test("a name that is not a string is an invalid parameter", () => {
    for (const name of [undefined, 1, {}]) expect(failureOf(resolve(name).route).code).toBe("invalid-params");
  });
  test("a missing tool and a hidden tool are refused with identical errors", () => {
    const { call, route } = resolve("crm__put");
    const refused = failureOf(() => policy.decide(call, principal("key:a", ["reader"]), route()));
    const missing = failureOf(resolve("crm__nil").route);
    const facts = ({ code, detail, message }: Failure) => ({ code, detail, message: message.replace(/\w+$/, "NAME") });
    expect(facts(refused)).toEqual(facts(missing));
  });
});

describe("list", () => {
  const big: Tool = {
    name: "get",
    text: '{ "name" : "get", "inputSchema":{"type":"object"}, "x":12345678901234567890 }',
    inputSchema: { type: "object" },
  };
  test("R2 a caller sees what policy lists: sorted, renamed, and otherwise as the server wrote it", () => {
    const catalog = build({ files: ["put", "get_b"], crm: [big], mcpgw: ["usage"] });
    const reader = listed(catalog, principal("key:a", ["reader"]));
    expect(reader).toContain('{ "name" : "crm__get", "inputSchema":{"type":"object"}, "x":12345678901234567890 }');
    expect(JSON.parse(reader).tools.map((tool: { name: string }) => tool.name)).toEqual(["crm__get", "files__get_b"]);
    const all = JSON.parse(listed(catalog)).tools.map((tool: { name: string }) => tool.name);
    expect(all).toEqual(["crm__get", "files__get_b", "files__put", "mcpgw__usage"]);
    expect(listed(catalog, principal("key:b", []))).toStartWith('{"tools":[],');
  });
  test("an outputSchema that clients of an era could not read is removed from their list, and the rest is unchanged", () => {
    const inputSchema = { type: "object" };
    const start = '{"name":"get","inputSchema":{"type":"object","x":1.10}';
    const rows: [outputSchema: string, legacy: boolean][] = [
      ['{"type":"object","x":2.0}', true],
      ['{"type":"array"}', false],
      ["{}", false],
    ];
    for (const [schema, legacy] of rows) {
      const whole = `${start},"outputSchema":${schema}}`;
      const catalog = build({ crm: [{ name: "get", text: whole, inputSchema }] });
      const shown = (text: string) => `{"tools":[${text.replace("get", "crm__get")}]}`;
      expect(listed(catalog, admin, loopback, "modern")).toBe(shown(whole));
      expect(listed(catalog)).toBe(shown(legacy ? whole : `${start}}`));
    }
  });
  test("boolean properties become objects for legacy clients, which would reject the list", () => {
    const inputSchema = { type: "object" };
    const whole = (a: string, b: string): string => {
      const schema = `{"type":"object","properties":{"a":${a}, "b":${b},"c":{"default":true}},"x":1.10}`;
      return `{"name":"get","inputSchema":${schema},"outputSchema":${schema}}`;
    };
    const catalog = build({ crm: [{ name: "get", text: whole("true", "false"), inputSchema }] });
    const shown = (text: string) => `{"tools":[${text.replace("get", "crm__get")}]}`;
    expect(listed(catalog, admin, loopback, "modern")).toBe(shown(whole("true", "false")));
    expect(listed(catalog)).toBe(shown(whole("{}", '{"not":{}}')));
  });
  test("an outputSchema that legacy clients cannot compile is shown only to modern clients", () => {
    const text = '{"name":"get","inputSchema":{"type":"object"},"outputSchema":{"type":"object","required":null}}';
    const catalog = build({ crm: [{ name: "get", text, inputSchema: { type: "object" }, modernOutput: true }] });
    expect(listed(catalog, admin, loopback, "modern")).toContain('"required":null');
    expect(listed(catalog)).toBe('{"tools":[{"name":"crm__get","inputSchema":{"type":"object"}}]}');
  });
  test("a cached list is not shown to the same key once it has other roles", () => {
    const catalog = build({ crm: ["get", "put"] });
    expect(listed(catalog)).toContain("crm__put");
    expect(listed(catalog, { ...admin, roles: ["reader"] })).not.toContain("crm__put");
  });
  test.each([
    ["no rule depends on it", [{ action: "allow" }], 1],
    ["a rule depends on its address", [{ action: "allow", when: { "source.ip": { eq: "127.0.0.1" } } }], 2],
  ])("a list is made once per caller, and per source if the source matters: %s", (_, rules, places) => {
    const usual = createPolicy({
      rules: [],
      policies: policiesOptions.parse([{ id: "all", roles: ["admin"], rules }]),
    });
    let decided = 0;
    const counting = { ...usual, lists: (...args: Parameters<Policy["lists"]>) => (decided++, usual.lists(...args)) };
    const catalog = build({ crm: ["get"] }, { policy: counting });
    const elsewhere = { ...loopback, ip: "192.0.2.1" };
    for (let i = 0; i < 3; i++) for (const source of [loopback, elsewhere]) listed(catalog, admin, source);
    expect(decided).toBe(places);
    expect(listed(catalog, admin, loopback)).toContain("crm__get");
  });
  test("FIELD T61: a missing item is reported under its own kind", () => {
    const missing = [
      { list: "prompts", name: "prompts/list", reason: "broken" },
      { list: "resourceTemplates", name: "?", reason: "a resource template without a uriTemplate" },
    ] as const;
    const one = buildCatalog({ crm: { tools: ["get"], missing } });
    expect(one.missing(null).map(({ kind, canonical }) => [kind, canonical])).toEqual([
      ["prompt", "crm:prompts/list"],
      ["resource", "crm:?"],
    ]);
    expect(ask(one, "tools").omitted).toBeUndefined();
    expect(ask(one, "prompts").omitted).toEqual([{ server: "crm", name: "prompts/list", reason: "broken" }]);
  });
  test("a lone surrogate in a reason does not make a list unreadable", () => {
    const missing = [{ list: "tools", name: "a\ud83d", reason: "broken \ud83d" }] as const;
    const text = listed(buildCatalog({ crm: { tools: ["get"], missing } }));
    expect(JSON.parse(text)._meta["mcpgw.dev/omitted"]).toEqual([
      { server: "crm", name: "a\ufffd", reason: "broken \ufffd" },
    ]);
  });
  test("a new catalog reuses the routes that did not change", () => {
    const make = (tools: Tool[], previous?: Catalog) => build({ crm: tools }, previous ? { previous } : {});
    const before = make([makeTool("get"), makeTool("put"), makeTool("gone")]);
    const after = make([makeTool("get"), makeTool("put", { type: "object", required: ["a"] })], before);
    expect(after.find("crm:get")).toBe(before.find("crm:get")!);
    expect(after.find("crm:put")).not.toBe(before.find("crm:put")!);
    expect(after.find("crm:gone")).toBeNull();
    expect(listed(after)).toContain('"required":["a"]');
  });
  test("a listing of a server that is not configured offers nothing", () => {
    const catalog = buildCatalog({ gone: { tools: ["get"], stale: true } }, { unconfigured: ["gone"] });
    expect(catalog.routes("tools", null)).toEqual([]);
  });
});

test("a server whose lists make the gateway itself fail offers nothing, and all others still work", () => {
  const broken: Tool = {
    ...makeTool("broken"),
    get text(): string {
      throw new RangeError("no such thing");
    },
  };
  const failures: string[] = [];
  const failed = (server: string, error: unknown): void => void failures.push(`${server} ${String(error)}`);
  const offered: Offered = { a: ["one"], b: ["two", broken], c: ["three"] };
  const catalog = build(offered, { failed });
  expect(failures).toEqual(["b RangeError: no such thing"]);
  expect(catalog.routes("tools", null).map(({ wire }) => wire)).toEqual(["a__one", "c__three"]);
  const reason = "the gateway failed to process its lists; see the gateway's log";
  expect(catalog.missing(null).filter(({ kind }) => kind === "tool")).toMatchObject([{ reason, cut: true }]);
});
