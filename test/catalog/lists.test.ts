import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Tool } from "../../src/core/call.ts";
import type { Era } from "../../src/core/inbound.ts";
import { loopback, makeTool } from "../support/call.ts";
import { admin, ask, buildCatalog, clock, lead, type Served, partyOf } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { policyOf } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

describe("prompts", () => {
  const served: Record<string, Served> = {
    crm: { prompts: ["greet", "né", "read"], tools: ["read"] },
    files: { prompts: ["greet", "Read", "read"] },
  };
  const catalog = buildCatalog(served);
  test("FIELD T57 are named like tools, in a namespace of their own, and each name maps back exactly", () => {
    const { names } = ask(catalog, "prompts");
    expect(names).toHaveLength(4);
    expect(names).toContain("crm__greet");
    expect(names).toContain("crm__read");
    for (const name of names) {
      expect(name).toMatch(/^[A-Za-z0-9_-]{1,50}$/);
      const route = lead(catalog, "prompt", name);
      expect(route).toMatchObject({ kind: "prompt", wire: name });
      expect(catalog.find(route.canonical, "prompts")).toBe(route);
    }
    expect(names.some((name) => /^crm__n__[0-9a-f]{8}$/.test(name))).toBe(true);
  });
  test("FIELD T56 case pairs: both missing, with a reason", () => {
    expect(catalog.missing(null).map(({ kind, canonical }) => `${kind} ${canonical}`)).toEqual([
      "prompt files:Read",
      "prompt files:read",
    ]);
  });
  test.each(["greet", "crm:greet", "", "*", "__proto__"])("S32 unknown: %p", (name) => {
    const failure = failureOf(() => lead(catalog, "prompt", name));
    expect([failure.code, failure.message]).toEqual(["unknown-prompt", `Unknown prompt: ${name}`]);
  });
  test("the prefix option applies to them", () => {
    const free = { prefix: "none" as const, prompts: ["greet"] };
    expect(ask(buildCatalog({ crm: free }), "prompts").names).toEqual(["greet"]);
    expect(ask(buildCatalog({ crm: free, files: free }), "prompts").names).toEqual([]);
  });
  test("only the name of a definition changes", () => {
    const text = '{"title":"T", "name" : "x","icons":[{"src":"a"}],"arguments":[{"name":"n","z":1.0}]}';
    const one = buildCatalog({ crm: { prompts: [] } });
    expect(ask(one, "prompts").text).toBe('{"prompts":[]}');
    const catalog2 = buildCatalog({ crm: { prompts: [{ name: "x", text }] } });
    expect(ask(catalog2, "prompts").text).toBe(`{"prompts":[${text.replace('"x"', '"crm__x"')}]}`);
  });
});

describe("definitions", () => {
  const tool = (text: string): Tool => ({ name: "t", text, inputSchema: { type: "object" } });
  const shown = (text: string, era: Era, more: Record<string, Served> = {}, resources: string[] = []) =>
    ask(buildCatalog({ crm: { tools: [tool(text)], resources }, ...more }), "tools", { era }).text;
  const wrap = (text: string) => `{"tools":[${text.replace('"name":"t"', '"name":"crm__t"')}]}`;
  const start = '{"name":"t","inputSchema":{"type":"object"},"x":[1.10,{"icons":1}]';

  test("tasks of 2025-11-25 are hidden in both eras", () => {
    for (const era of ["legacy", "modern"] as const) {
      expect(shown(`${start},"execution":{"taskSupport":"required"}}`, era)).toBe(wrap(`${start}}`));
      expect(shown(`${start},"execution":{}}`, era)).toBe(wrap(`${start}}`));
      for (const rest of [', "title":"execution"}', ',"execution":{"taskSupport":"forbidden"}}'])
        expect(shown(start + rest, era)).toBe(wrap(start + rest));
    }
  });
  test("headers from arguments are shown only to modern clients", () => {
    const schema = (mark: string) =>
      `{"name":"t","inputSchema":{"type":"object","properties":{"a":{"type":"string"${mark}},"b":{"type":"object","properties":{"c":{${mark && '"x-mcp-header":"C", '}"type":"integer"}}},"d":{"const":{"x-mcp-header":1.0}}}}}`;
    const text = schema(',"x-mcp-header":"A"');
    expect(shown(text, "modern")).toBe(wrap(text));
    expect(JSON.parse(shown(text, "legacy"))).toEqual(JSON.parse(wrap(schema(""))));
    expect(shown(text, "legacy")).toContain('{"const":{"x-mcp-header":1.0}}');
  });
  test("the app of a tool is rewritten if and only if its URI is", () => {
    const text = (uri: string) =>
      `${start},"_meta":{"v":1.0,"ui":{"resourceUri":"${uri}","csp":[]},"ui/resourceUri":"${uri}"}}`;
    const twin = { files: { resources: ["ui://a"] } };
    for (const era of ["legacy", "modern"] as const) {
      expect(shown(text("ui://a"), era, {}, ["ui://a"])).toBe(wrap(text("ui://a")));
      expect(shown(text("ui://a"), era, twin, ["ui://a"])).toBe(wrap(text("ui://crm/a")));
      expect(shown(text("ui://b"), era, twin, ["ui://a", "ui://b"])).toBe(wrap(text("ui://b")));
    }
  });
  test("a change of another server's URIs changes how this server's tools are shown", () => {
    const text = `${start},"_meta":{"ui":{"resourceUri":"ui://a"}}}`;
    const crm = { tools: [tool(text)], resources: ["ui://a"] };
    const before = buildCatalog({ crm });
    const first = ask(before, "tools").text;
    const print = before.shown(partyOf(admin), "tools");
    const after = buildCatalog({ crm, files: { resources: ["ui://a"] } }, { previous: before });
    expect(after.routes("tools", null)[0]).toBe(before.routes("tools", null)[0]!);
    expect(ask(after, "tools").text).not.toBe(first);
    expect(after.shown(partyOf(admin), "tools")).not.toBe(print);
    expect(buildCatalog({ crm }, { previous: after }).shown(partyOf(admin), "tools")).toBe(print);
  });
});

describe("pages", () => {
  const names = Array.from({ length: 25 }, (_, at) => `t${String(at).padStart(2, "0")}`);
  const catalog = buildCatalog({ crm: { tools: names, prompts: ["p", "q"] } }, { page: 10 });
  const all = (who = admin, scope: string | null = null): string[][] => {
    const pages: string[][] = [];
    let cursor: string | undefined;
    do {
      const page = ask(catalog, "tools", { who, scope, ...(cursor !== undefined && { cursor }) });
      pages.push(page.names);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return pages;
  };
  test("pages contain every entry once, in order, and the last page has no cursor", () => {
    expect(all().map((page) => page.length)).toEqual([10, 10, 5]);
    expect(all().flat()).toEqual(names.map((name) => `crm__${name}`));
    expect(all(admin, "crm").flat()).toEqual(names.map((name) => `crm__${name}`));
  });
  test("a full last page has no cursor either", () => {
    expect(ask(buildCatalog({ crm: { tools: names.slice(0, 10) } }, { page: 10 }), "tools").nextCursor).toBeUndefined();
  });
  test("a cursor is valid only for its caller, list and scope, and only unchanged", () => {
    const { names: first, nextCursor = "" } = ask(catalog, "tools");
    expect(ask(catalog, "tools", { cursor: nextCursor }).names).toHaveLength(10);
    expect(ask(catalog, "tools", { cursor: null }).names).toEqual(first);
    const wrong: [list: "tools" | "prompts", more: Parameters<typeof ask>[2]][] = [
      ["tools", { cursor: nextCursor, who: principal("key:other", ["admin"]) }],
      ["prompts", { cursor: nextCursor }],
      ["tools", { cursor: nextCursor, scope: "crm" }],
      ["tools", { cursor: `${nextCursor}A` }],
      ["tools", { cursor: "" }],
      ["tools", { cursor: "10" }],
      ["tools", { cursor: 10 }],
    ];
    for (const [list, more] of wrong) {
      const failure = failureOf(() => ask(catalog, list, more));
      expect([failure.code, failure.row.rpc]).toEqual(["invalid-params", -32602]);
    }
  });
  test("a cursor is valid for ten minutes", () => {
    const { nextCursor: cursor = "" } = ask(catalog, "tools");
    clock.advance(600_000);
    expect(ask(catalog, "tools", { cursor }).names).toHaveLength(10);
    clock.advance(1);
    expect(failureOf(() => ask(catalog, "tools", { cursor })).code).toBe("invalid-params");
  });
  test("a cursor survives a change of the list: the next page starts after the last name that was returned", () => {
    const { nextCursor = "" } = ask(catalog, "tools");
    const after = buildCatalog(
      { crm: { tools: ["a", ...names.filter((name) => name !== "t09"), "t10b"] } },
      { page: 10 },
    );
    expect(ask(after, "tools", { cursor: nextCursor }).names.slice(0, 2)).toEqual(["crm__t10", "crm__t10b"]);
  });
});

describe("scopes", () => {
  const served: Record<string, Served> = {
    crm: { tools: ["get_a", "get_b", "put"], prompts: ["p"], resources: ["db://a"], instructions: "Ask for orders." },
    files: {
      tools: ["get_a"],
      resources: ["db://a", "file:///srv/x"],
      templates: ["file:///{+path}"],
      instructions: "Read.",
    },
    off: { enabled: false },
    mcpgw: { tools: ["usage"] },
  };
  const toolsets = [
    {
      id: "desk",
      description: "For the desk.",
      include: ["crm:get_*", "files:file:///srv/*"],
      exclude: ["*:*_b"],
      rename: { "crm:get_a": "find" },
    },
    { id: "all", include: ["*:*"] },
    { id: "own", include: ["mcpgw:*"] },
  ];
  const catalog = buildCatalog(served, { toolsets, unconfigured: ["mcpgw"] });
  const see = (list: "tools" | "prompts" | "resources" | "resourceTemplates", scope: string | null) =>
    ask(catalog, list, { scope }).names;

  test("S32: only enabled servers and toolsets are scopes", () => {
    const ids = ["crm", "files", "desk", "all", "off", "mcpgw", "gone", "", "*", "CRM", "__proto__"];
    expect(ids.filter((id) => catalog.hasScope(id))).toEqual(["crm", "files", "desk", "all"]);
  });
  test("a server's endpoint offers its items under their usual names", () => {
    expect(see("tools", "crm")).toEqual(["crm__get_a", "crm__get_b", "crm__put"]);
    expect(see("prompts", "crm")).toEqual(["crm__p"]);
    expect(see("resources", "crm")).toEqual(["mcpgw+crm:db://a"]);
    expect(see("resourceTemplates", "files")).toEqual(["file:///{+path}"]);
    expect(lead(catalog, "tool", "crm__get_a", { scope: "crm" })).toBe(lead(catalog, "tool", "crm__get_a"));
    expect(failureOf(() => lead(catalog, "tool", "files__get_a", { scope: "crm" })).code).toBe("unknown-tool");
    expect(failureOf(() => lead(catalog, "resource", "file:///etc/x", { scope: "crm" })).code).toBe("unknown-resource");
    // In a scope with only one of the servers, nothing is ambiguous.
    expect(lead(catalog, "resource", "db://a", { scope: "crm" }).server).toBe("crm");
  });
  test("a toolset only narrows what is offered, for all kinds", () => {
    expect(see("tools", "desk")).toEqual(["find"]);
    expect(see("prompts", "desk")).toEqual([]);
    expect(see("resources", "desk")).toEqual(["file:///srv/x"]);
    expect(see("resourceTemplates", "desk")).toEqual(["file:///{+path}"]);
    expect(lead(catalog, "tool", "find", { scope: "desk" })).toMatchObject({
      server: "crm",
      name: "get_a",
      canonical: "crm:get_a",
    });
    for (const name of ["crm__get_a", "crm__get_b", "files__get_a"])
      expect(failureOf(() => lead(catalog, "tool", name, { scope: "desk" })).code).toBe("unknown-tool");
    expect(lead(catalog, "resource", "file:///srv/y", { scope: "desk" }).name).toBe("file:///srv/y");
    expect(failureOf(() => lead(catalog, "resource", "file:///etc/y", { scope: "desk" })).code).toBe(
      "unknown-resource",
    );
    const sly = "file:///srv/../etc/passwd";
    expect(failureOf(() => lead(catalog, "resource", sly, { scope: "desk" })).code).toBe("unknown-resource");
    expect(failureOf(() => lead(catalog, "tool", "find")).code).toBe("unknown-tool");
    expect([
      catalog.offers("tool", "find", "desk", partyOf(admin)),
      catalog.offers("tool", "find", null, partyOf(admin)),
    ]).toEqual([true, false]);
  });
  test("policy still applies in a scope", () => {
    const reader = principal("key:r", ["reader"]);
    expect(ask(catalog, "tools", { who: reader, scope: "all" }).names).toEqual([
      "crm__get_a",
      "crm__get_b",
      "files__get_a",
    ]);
    expect(ask(catalog, "resources", { who: reader, scope: "all" }).names).toEqual([]);
  });
  test("the gateway's own tools are only in toolsets that name them", () => {
    expect(see("tools", "all")).not.toContain("mcpgw__usage");
    expect(ask(buildCatalog(served, { toolsets }), "tools", { scope: "own" }).names).toEqual(["mcpgw__usage"]);
  });
  test("an unknown scope offers nothing", () => {
    expect(see("tools", "gone")).toEqual([]);
    expect(failureOf(() => lead(catalog, "tool", "crm__put", { scope: "gone" })).code).toBe("unknown-tool");
    expect([...catalog.servers("gone")]).toEqual([]);
    expect(catalog.instructions("gone", admin, loopback)).toBeNull();
  });
  test("if new names collide at run time, neither entry is offered, and the reason is reported", () => {
    const twins = [{ id: "desk", include: ["*:*"], rename: { "crm:get_a": "Files__GET_a" } }];
    const both = buildCatalog(served, { toolsets: twins });
    expect(ask(both, "tools", { scope: "desk" }).names).not.toContain("files__get_a");
    expect(both.allMissing().map(({ canonical, reason }) => [canonical, reason.startsWith("toolset desk:")])).toEqual([
      ["crm:get_a", true],
      ["files:get_a", true],
    ]);
    expect(ask(both, "tools").names).toContain("files__get_a");
  });
  test("a renamed route stays the same object while nothing changes", () => {
    const after = buildCatalog(served, { toolsets, previous: catalog });
    expect(lead(after, "tool", "find", { scope: "desk" })).toBe(lead(catalog, "tool", "find", { scope: "desk" }));
  });
  test("the instructions of servers are shown to callers that may use them", () => {
    expect(catalog.instructions("crm", admin, loopback)).toBe("Ask for orders.");
    expect(catalog.instructions(null, admin, loopback)).toBe("# crm\n\nAsk for orders.\n\n# files\n\nRead.");
    expect(catalog.instructions("desk", admin, loopback)).toBe(
      "For the desk.\n\n# crm\n\nAsk for orders.\n\n# files\n\nRead.",
    );
    const policy = policyOf([], { reader: [{ tool: "files:*", action: "allow" }] });
    expect(buildCatalog(served, { policy }).instructions(null, principal(), loopback)).toBe("# files\n\nRead.");
    const long = buildCatalog({ crm: { instructions: "é".repeat(9000) } }).instructions(null, admin, loopback) ?? "";
    expect(Buffer.byteLength(long)).toBeLessThanOrEqual(8192);
    expect(long).toEndWith("é…");
    expect(buildCatalog({ crm: {} }).instructions(null, admin, loopback)).toBeNull();
  });
  test("the fingerprint differs if what is shown of the scope differs", () => {
    const more = buildCatalog(
      { ...served, crm: { ...served["crm"], tools: ["get_a", "get_b", "put", "set"] } },
      { toolsets },
    );
    const print = (from: typeof catalog, scope: string | null, list: "tools" | "prompts" | "resources") =>
      from.shown(partyOf(admin, scope), list);
    for (const scope of [null, "crm", "all"])
      expect(print(more, scope, "tools")).not.toBe(print(catalog, scope, "tools"));
    for (const scope of ["files", "desk"]) expect(print(more, scope, "tools")).toBe(print(catalog, scope, "tools"));
    expect(print(more, null, "prompts")).toBe(print(catalog, null, "prompts"));
    const templates = buildCatalog({ ...served, files: { ...served["files"], templates: [] } });
    expect(print(templates, "files", "resources")).not.toBe(print(catalog, "files", "resources"));
    const reader = principal("key:r", ["reader"]);
    expect(more.shown(partyOf(reader), "tools")).toBe(catalog.shown(partyOf(reader), "tools"));
  });
});

describe("FIELD T61 a list reports what is missing from it", () => {
  const served: Record<string, Served> = {
    crm: {
      tools: ["get", "Get", "put"],
      missing: [{ list: "tools", name: "get_bad", reason: "its inputSchema is no object" }],
    },
    down: { stale: true, reason: "connect ECONNREFUSED" },
    stale: { stale: true, reason: "connect ECONNREFUSED", tools: ["get_old"] },
    secret: { stale: true, reason: "it is starting" },
    quiet: { capabilities: { prompts: {} }, reason: "gone", stale: true },
    bare: { capabilities: {}, reason: "gone", stale: true },
  };
  const policy = policyOf([], {
    reader: [
      { tool: "get*", server: "crm", action: "allow" },
      { server: "down", tool: "get*", action: "allow" },
    ],
    admin: [{ action: "allow" }],
  });
  const catalog = buildCatalog(served, { policy });
  const down = { server: "down", reason: "connect ECONNREFUSED" };

  test("if the caller could see it: never the names of others", () => {
    const { omitted } = ask(catalog, "tools", { who: principal() });
    expect(omitted).toEqual([
      down,
      { server: "crm", name: "get_bad", reason: "its inputSchema is no object" },
      { server: "crm", name: "get", reason: "its name cannot be distinguished from another name" },
    ]);
    const all = ask(catalog, "tools").omitted as { server: string; name?: string }[];
    expect(all.map(({ server, name }) => `${server}:${name ?? ""}`)).toEqual([
      "down:",
      "secret:",
      "crm:get_bad",
      "crm:get",
      "crm:Get",
    ]);
  });
  test("unless its server has nothing of this kind", () => {
    expect(ask(catalog, "prompts").omitted).toEqual([
      down,
      { server: "stale", reason: "connect ECONNREFUSED" },
      { server: "secret", reason: "it is starting" },
      { server: "quiet", reason: "gone" },
    ]);
    expect(ask(catalog, "prompts", { who: principal() }).text).toBe('{"prompts":[]}');
  });
  test("per scope, on the first page only, with limits", () => {
    expect(ask(catalog, "tools", { scope: "down" }).omitted).toEqual([down]);
    expect(ask(catalog, "tools", { scope: "stale" }).omitted).toBeUndefined();
    const many = buildCatalog(
      {
        a: { tools: Array.from({ length: 30 }, (_, at) => `ok${at}`) },
        ...Object.fromEntries(
          Array.from({ length: 40 }, (_, at) => [`s${at}`, { stale: true, reason: "down ".repeat(100) }]),
        ),
      },
      { page: 20 },
    );
    const first = ask(many, "tools");
    expect(JSON.stringify(first.omitted).length).toBeLessThanOrEqual(2050);
    expect((first.omitted as unknown[]).length).toBeGreaterThan(3);
    expect(ask(many, "tools", { cursor: first.nextCursor }).omitted).toBeUndefined();
  });
});

describe("templates under policy", () => {
  const catalogOf = (rules: Record<string, unknown>[], above: Record<string, unknown>[] = []) => {
    const policy = policyOf(above, { reader: rules });
    return { policy, catalog: buildCatalog({ files: { templates: ["file:///{+path}"] } }, { policy }) };
  };
  const rows: [what: string, rules: Record<string, unknown>[], above: Record<string, unknown>[], listed: boolean][] = [
    ["an allow for some of a template's URIs", [{ resource: "file:///srv/*", action: "allow" }], [], true],
    ["an allow for none of its URIs", [{ resource: "db://*", action: "allow" }], [], false],
    ["a denial of some keeps it listed", [{ action: "allow" }], [{ resource: "file:///etc/*", action: "deny" }], true],
    ["a denial of all hides it", [{ action: "allow" }], [{ resource: "file:*", action: "deny" }], false],
  ];
  test.each(rows)("R2 S33: %s", (_what, rules, above, listed) => {
    const { catalog } = catalogOf(rules, above);
    expect(ask(catalog, "resourceTemplates", { who: principal() }).names).toHaveLength(listed ? 1 : 0);
  });
  test("R2 S33: if a URI may be read, its template is listed", () => {
    const piece = fc.constantFrom("file:///", "a", "b", "/", "*", "?", "");
    const glob = fc.array(piece, { minLength: 1, maxLength: 4 }).map((pieces) => pieces.join("") || "*");
    const rule = fc.record({ resource: glob, action: fc.constantFrom("allow", "deny") });
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 4 }), fc.array(rule, { maxLength: 2 }), (rules, above) => {
        const { policy, catalog } = catalogOf(rules, above);
        const who = principal();
        const readable = ["file:///", "file:///a", "file:///b/a", "file:///ab"].some((uri) =>
          policy.lists(who, lead(catalog, "resource", uri, { who })),
        );
        const shown = ask(catalog, "resourceTemplates", { who }).names.length > 0;
        expect(shown || !readable).toBe(true);
      }),
      { numRuns: 300 },
    );
  });
});

test("10,000 tools of 50 servers are named and listed page by page", () => {
  const tools = Array.from({ length: 200 }, (_, at) => makeTool(`tool_${at}${at % 40 === 0 ? ".é" : ""}`));
  const served = Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`server-${at}`, { tools }]));
  const catalog = buildCatalog(served);
  const seen = new Set<string>();
  let cursor: string | undefined;
  do {
    const page = ask(catalog, "tools", cursor === undefined ? {} : { cursor });
    for (const name of page.names) seen.add(name);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  expect(seen.size).toBe(10_000);
  for (const name of seen) expect(name).toMatch(/^[A-Za-z0-9_-]{1,50}$/);
});
