import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createHandedOut } from "../../src/catalog/handed-out.ts";
import type { Route } from "../../src/core/call.ts";
import type { Catalog } from "../../src/core/ports.ts";
import type { Principal } from "../../src/core/principal.ts";
import { readTemplate } from "../../src/core/uri-template.ts";
import { makeCall } from "../support/call.ts";
import { admin, ask, buildCatalog, lead, type Served, partyOf } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { policyOf } from "../support/policy.ts";
import { principal, stillClock } from "../support/principal.ts";

const uris = (served: Record<string, Served>) => ask(buildCatalog(served), "resources").names;
const outgoing = (catalog: Catalog, route: Route, text: string, who = admin): string =>
  catalog.outgoing(route, text, who);
const gone = (served: Record<string, Served>) =>
  buildCatalog(served)
    .missing(null)
    .map(({ kind, canonical }) => `${kind} ${canonical}`);

describe("URIs on the wire", () => {
  const rows: [what: string, served: Record<string, Served>, names: string[], gone: string[]][] = [
    [
      "FIELD T13 unique URIs stay as they are, opaque ones too",
      { crm: { resources: ["ui://app/main", "x:opaque%2F?a=b#c"] }, files: { resources: ["file:///a"] } },
      ["file:///a", "ui://app/main", "x:opaque%2F?a=b#c"],
      [],
    ],
    [
      "a URI of two servers names its server",
      { crm: { resources: ["db://a"] }, files: { resources: ["db://a", "db://b"] } },
      ["db://b", "mcpgw+crm:db://a", "mcpgw+files:db://a"],
      [],
    ],
    [
      "FIELD T13 an app stays an app",
      { crm: { resources: ["ui://main.html"] }, files: { resources: ["ui://main.html"] } },
      ["ui://crm/main.html", "ui://files/main.html"],
      [],
    ],
    [
      "a name that another server has already is nobody's",
      { crm: { resources: ["ui://a"] }, files: { resources: ["ui://a"] }, evil: { resources: ["ui://crm/a"] } },
      ["ui://files/a"],
      ["resource crm:ui://a", "resource evil:ui://crm/a"],
    ],
    [
      "the gateway's own form cannot be taken",
      { crm: { resources: ["db://a"] }, evil: { resources: ["mcpgw+crm:db://a"] } },
      ["db://a"],
      ["resource evil:mcpgw+crm:db://a"],
    ],
    [
      "one URI twice in a list",
      { crm: { resources: ["db://a", "db://b", "db://a"] } },
      ["db://b"],
      ["resource crm:db://a", "resource crm:db://a"],
    ],
    [
      "one that is too long to be asked for",
      { crm: { resources: [`db://${"x".repeat(8000)}`, "db://a"] } },
      ["db://a"],
      [`resource crm:db://${"x".repeat(8000)}`],
    ],
    ["one that is no URI", { crm: { resources: ["my_crm://a", "/a"] } }, ["mcpgw+crm:/a", "mcpgw+crm:my_crm://a"], []],
    ["nor is it one behind its server", { crm: { resources: ["//a b"] } }, [], ["resource crm://a b"]],
    ["no URI at all", { crm: { resources: ["", "db://a"] } }, ["db://a"], ["resource crm:"]],
  ];
  test.each(rows)("%s", (_what, served, names, without) => {
    expect(uris(served)).toEqual(names);
    expect(gone(served).toSorted()).toEqual(without.toSorted());
  });
  test("templates likewise", () => {
    const catalog = buildCatalog({ a: { templates: ["db://{x}", "a://{x}"] }, b: { templates: ["db://{x}"] } });
    expect(ask(catalog, "resourceTemplates").names).toEqual(["a://{x}", "mcpgw+a:db://{x}", "mcpgw+b:db://{x}"]);
  });
  test("definitions keep every other character", () => {
    const text = '{ "uri" : "db://a" , "size":12345678901234567890, "_meta":{"x":1.10}, "icons":[{"src":"y"}]}';
    const served = { resources: [{ name: "db://a", text }] };
    expect(ask(buildCatalog({ crm: served }), "resources").text).toBe(`{"resources":[${text}]}`);
    const both = ask(buildCatalog({ crm: served, b: { resources: ["db://a"] } }), "resources").text;
    expect(both).toContain(text.replace("db://a", "mcpgw+crm:db://a"));
  });
});

describe("where a URI leads", () => {
  const served = {
    crm: { resources: ["db://a", "crm://one", "my_crm://a"], templates: ["crm://{id}", "crm://{id}/notes/{n}"] },
    files: { resources: ["db://a"], templates: ["file:///{+path}", "file:///srv/{+path}"] },
    other: { templates: ["file:///srv/{+path}", "any://{x}", "crm://{id}/deep/{+rest}"] },
    wide: { templates: ["file:///srv/{x}/y", "any://{x}"] },
  };
  const catalog = buildCatalog(served);
  const rows: [uri: string, to: string][] = [
    ["crm://one", "crm:crm://one"],
    ["crm://two", "crm:crm://two"],
    ["crm://two/notes/7", "crm:crm://two/notes/7"],
    ["mcpgw+crm:db://a", "crm:db://a"],
    ["mcpgw+files:db://a", "files:db://a"],
    ["mcpgw+files:file:///elsewhere", "files:file:///elsewhere"],
    ["file:///etc/hosts", "files:file:///etc/hosts"],
    ["mcpgw+other:file:///srv/{+path}", "other:file:///srv/{+path}"],
    ["my_crm://a", "crm:my_crm://a"],
  ];
  test.each(rows)("%s → %s", (uri, to) => {
    const route = lead(catalog, "resource", uri);
    expect(`${route.server}:${route.name}`).toBe(to);
    expect(lead(catalog, "resource", uri)).toBe(route);
    expect(catalog.offers("resource", uri, null, partyOf(admin))).toBe(true);
  });

  test("several servers: an error that names both and the way on", () => {
    for (const uri of ["db://a", "any://z", "crm://two/deep/a/b"]) {
      const failure = failureOf(() => lead(catalog, "resource", uri));
      expect(failure.code).toBe("invalid-params");
      const { servers, uris: ways } = failure.detail.data as { servers: string[]; uris: string[] };
      expect(failure.message).toContain(servers.join(" and "));
      expect(ways).toEqual(servers.map((server) => `mcpgw+${server}:${uri}`));
      for (const [at, way] of ways.entries()) expect(lead(catalog, "resource", way).server).toBe(servers[at] ?? "");
    }
  });

  test("a caller who may use one of them is led there, and learns of no other", () => {
    const policy = policyOf([], {
      reader: [
        { server: "crm", action: "allow" },
        { server: "wide", action: "allow" },
      ],
    });
    const narrow = buildCatalog(served, { policy });
    const who = principal();
    expect(lead(narrow, "resource", "db://a", { who }).server).toBe("crm");
    expect(lead(narrow, "resource", "any://z", { who }).server).toBe("wide");
    // Policy refuses it as if it were missing.
    const hidden = lead(narrow, "resource", "file:///etc/hosts", { who });
    expect(policy.lists(who, hidden)).toBe(false);
  });

  test.each(["db://b", "", "crm:crm://one", "mcpgw+gone:db://a", "__proto__", "mcpgw+crm"])(
    "S32 unknown: %p is missing in the words for what is hidden",
    (uri) => {
      const failure = failureOf(() => lead(catalog, "resource", uri));
      expect([failure.code, failure.message, failure.detail]).toEqual([
        "unknown-resource",
        `Resource not found: ${uri}`,
        { data: { uri } },
      ]);
      expect([failure.row.rpc, failure.row.legacyRpc]).toEqual([-32602, -32002]);
      expect(catalog.offers("resource", uri, null, partyOf(admin))).toBe(false);
    },
  );

  test("completion follows the template itself, reading does not", () => {
    const method = "completion/complete";
    const route = lead(catalog, "resource", "crm://{id}", { method });
    expect(route).toMatchObject({ template: true, server: "crm", name: "crm://{id}" });
    expect(lead(catalog, "resource", "mcpgw+crm:db://a", { method }).name).toBe("db://a");
    expect(lead(catalog, "resource", "crm://{id}").template).toBeUndefined();
  });

  test("a renamed template leads back to the server's own URI", () => {
    const twins = buildCatalog({
      a: { templates: ["db://{x}", "ui://{x}"] },
      b: { templates: ["db://{x}", "ui://{x}"] },
    });
    expect(lead(twins, "resource", "mcpgw+a:db://1")).toMatchObject({ server: "a", name: "db://1" });
    expect(lead(twins, "resource", "ui://b/page")).toMatchObject({ server: "b", name: "ui://page" });
    expect(failureOf(() => lead(twins, "resource", "db://1")).message).toContain("a and b");
  });

  test("a server's own URI has one route, listed or not, and a method of the same name another", () => {
    const catalog = buildCatalog({ a: { resources: ["db://a"] }, b: { resources: ["db://a"] } });
    const listed = lead(catalog, "resource", "mcpgw+a:db://a");
    expect(catalog.routeTo("resource", "a", "db://a")).toBe(listed);
    const [unlisted, method] = (["resource", "extension"] as const).map((kind) => catalog.routeTo(kind, "a", "x/y"));
    expect(catalog.routeTo("resource", "a", "x/y")).toBe(unlisted!);
    expect(catalog.routeTo("extension", "a", "x/y")).toBe(method!);
    expect([unlisted, method].map((route) => [route?.kind, route?.canonical, route?.wire])).toEqual([
      ["resource", "a:x/y", "x/y"],
      ["extension", "a:x/y", "x/y"],
    ]);
  });

  test("S23: of what callers make up, little is remembered: of long URIs the last, and none that is too long is looked at", () => {
    const catalog = buildCatalog({ a: {} });
    const uri = (length: number): string => "mcpgw+a:db://".padEnd(length, "x");
    const [short, long, last] = [100, 8192, 8191].map((length) => lead(catalog, "resource", uri(length)));
    const again = [100, 8191, 8192].map((length) => lead(catalog, "resource", uri(length)));
    expect([again[0] === short, again[1] === last, again[2] === long]).toEqual([true, true, false]);
    const call = Object.assign(makeCall({ method: "resources/read" }), { who: admin });
    for (const kind of ["resource", "tool", "prompt"] as const) {
      const refused = failureOf(() => catalog.resolve(call, kind, uri(8193)));
      expect([refused.code, refused.message]).toEqual(["invalid-params", expect.stringContaining("8192 characters")]);
      expect(call.target).toHaveLength(8192);
    }
    expect([8192, 8193].map((length) => catalog.offers("resource", uri(length), null, partyOf(admin)))).toEqual([
      true,
      false,
    ]);
  });

  test("a long URI that several callers were given is one route", () => {
    const catalog = buildCatalog({ a: {} });
    const callers = [principal("key:one", ["admin"]), principal("key:two", ["admin"])];
    const uri = "db://".padEnd(1000, "x");
    const result = JSON.stringify({ content: [{ type: "resource_link", name: "x", uri }] });
    for (const who of callers) outgoing(catalog, catalog.routeTo("resource", "a", "db://from"), result, who);
    expect(catalog.locate(uri, callers)).toHaveLength(1);
  });

  test("routes that did not change are taken over", () => {
    const after = buildCatalog({ ...served, more: { resources: ["new://x"] } }, { previous: catalog });
    const [route] = catalog.routes("resources", null);
    expect(after.find(route?.canonical ?? "", "resources")).toBe(route!);
    expect(catalog.locate("crm://one", [])).toEqual([catalog.find("crm:crm://one", "resources")!]);
  });
});

test("templates: what a template makes, it matches", () => {
  const part = fc
    .string({ unit: fc.constantFrom("a", "/", "{", "}", ":", "é"), maxLength: 4 })
    .map((text) => text.replaceAll(/[{}]/g, ""));
  fc.assert(
    fc.property(
      fc.array(part, { minLength: 1, maxLength: 5 }),
      fc.array(part, { minLength: 5, maxLength: 5 }),
      (fixed, values) => {
        const template = readTemplate(fixed.join("{+v}"));
        const made = fixed.map((piece, at) => piece + (at < fixed.length - 1 ? values[at] : "")).join("");
        expect(template.matches(made)).toBe(true);
        expect(made.startsWith(template.prefix)).toBe(true);
        expect(template.matches(`${made}!`)).toBe(fixed.length > 1 && fixed.at(-1) === "");
      },
    ),
  );
  expect(readTemplate("a://{x").matches("a://{x")).toBe(true);
  expect(readTemplate("{x}").matches("x".repeat(9000))).toBe(false);
});

describe("URIs in results", () => {
  const link = (uri: string) => `{"type":"resource_link","uri":${JSON.stringify(uri)},"name":"n","size":1.10}`;
  const twins: Record<string, Served> = {
    a: { tools: ["t"], resources: ["db://x", "own://x"], templates: ["doc://{id}"] },
    b: { tools: ["t"], resources: ["db://x"], templates: ["b://{id}"] },
  };
  const catalog = buildCatalog(twins);
  const [tool] = catalog.routes("tools", null);

  test("links and embedded resources carry the URI on the wire; nothing else changes", () => {
    const text = (x: string) =>
      `{ "content" : [ ${link(x)}, {"type":"text","text":"db://x"}, {"type":"resource","resource":{"uri":"${x}","text":"\\"uri\\":\\"db://x\\""}}, {"type":"other","uri":"db://x"} ],"structuredContent":{"uri":"db://x","n":1e400},"_meta":{"ui":{"resourceUri":"${x}"},"ui/resourceUri":"${x}","v":2.0}}`;
    expect(outgoing(catalog, tool!, text("db://x"))).toBe(text("mcpgw+a:db://x"));
    expect(outgoing(catalog, tool!, text("own://x"))).toBe(text("own://x"));
  });
  test("links beyond those that can be held against the templates in bounded steps lead to their own server all the same", () => {
    const templates = Array.from({ length: 500 }, (_, i) => `db://{+a}/${i}/{+b}!`);
    const many = buildCatalog({ ...twins, many: { tools: ["t"], templates } });
    const uris = ["db://x", ...Array.from({ length: 200 }, (_, i) => `db://${i}`.padEnd(100, "x")), "db://x"];
    const answer = outgoing(many, many.find("many:t")!, `{"content":[${uris.map(link).join()}]}`);
    expect(answer).toStartWith(`{"content":[${link("mcpgw+many:db://x")},${link("db://0".padEnd(100, "x"))}`);
    expect(answer).toEndWith(`${link(`mcpgw+many:${"db://199".padEnd(100, "x")}`)},${link("mcpgw+many:db://x")}]}`);
  });
  test("templates of other beginnings count for no link", () => {
    const templates = Array.from({ length: 500 }, (_, i) => `db${i}://{+a}/{+b}!`);
    const many = buildCatalog({ ...twins, many: { tools: ["t"], templates } });
    const uris = Array.from({ length: 300 }, () => "db://x".padEnd(100, "x"));
    const text = `{"content":[${[...uris, "db://x"].map(link).join()}]}`;
    expect(outgoing(many, many.find("many:t")!, text)).toContain("mcpgw+many:db://x");
  });
  test("prompts, resources and finished tasks too", () => {
    const prompt = (x: string) =>
      `{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"${x}"}}}]}`;
    expect(outgoing(catalog, tool!, prompt("db://x"))).toBe(prompt("mcpgw+a:db://x"));
    const task = (x: string) => `{"taskId":"1","status":"completed","result":{"content":[${link(x)}]}}`;
    expect(outgoing(catalog, tool!, task("db://x"))).toBe(task("mcpgw+a:db://x"));
    const read = (x: string) => `{"contents":[{"uri":"${x}","text":""},{"uri":"own://x"}]}`;
    expect(outgoing(catalog, lead(catalog, "resource", "mcpgw+a:db://x"), read("db://x"))).toBe(read("mcpgw+a:db://x"));
  });
  test.each([
    (x: string) => `{"content":[{"type":"resource\\u005flink","uri":"${x}"}]}`,
    (x: string) => `{"content":[{"type":"resource_link","\\u0075ri":"${x}"}]}`,
    (x: string) => `{"content":[],"_meta":{"ui":{"resource\\u0055ri":"${x}"}}}`,
  ])("a link is one however it is spelled: %p", (spelled) => {
    expect(outgoing(catalog, tool!, spelled("db://x"))).toBe(spelled("mcpgw+a:db://x"));
  });
  test("a text that has no links is the text itself", () => {
    const text = '{"content":[{"type":"text","text":"hello"}]}';
    expect(outgoing(catalog, tool!, text)).toBe(text);
  });
  test("a URI that is in no list is readable after it was handed out, by whom policy lets", () => {
    const uri = "hidden://note/1";
    expect(failureOf(() => lead(catalog, "resource", uri)).code).toBe("unknown-resource");
    expect(outgoing(catalog, tool!, `{"content":[${link(uri)}]}`)).toBe(`{"content":[${link(uri)}]}`);
    expect(lead(catalog, "resource", uri)).toMatchObject({ server: "a", name: uri });
    const reader = principal("key:b", ["reader"]);
    expect(
      policyOf([], { reader: [{ server: "b", action: "allow" }] }).lists(reader, lead(catalog, "resource", uri)),
    ).toBe(false);
  });
  test("a server cannot take over a URI of another by handing it out: its own names it", () => {
    for (const uri of ["db://x", "b://7", "own://x"]) {
      const evil = buildCatalog({ ...twins, evil: { tools: ["t"] } });
      const answer = outgoing(evil, evil.find("evil:t")!, `{"content":[${link(uri)}]}`);
      expect(answer).toBe(`{"content":[${link(`mcpgw+evil:${uri}`)}]}`);
      expect(lead(evil, "resource", `mcpgw+evil:${uri}`)).toMatchObject({ server: "evil", name: uri });
    }
    const first = catalog.find("a:t")!;
    const second = catalog.find("b:t")!;
    outgoing(catalog, first, `{"content":[${link("shared://1")}]}`);
    expect(outgoing(catalog, second, `{"content":[${link("shared://1")}]}`)).toContain("mcpgw+b:shared://1");
    expect(lead(catalog, "resource", "shared://1").server).toBe("a");
  });
  test("a URI below a resource leads to the server of that one", () => {
    const both = buildCatalog({
      a: { resources: ["db://x", "one://x"] },
      b: { resources: ["db://x", "one://x/listed"] },
    });
    const below = (uri: string, to: string) => both.below(lead(both, "resource", uri), to, admin);
    const rows: [uri: string, to: string, wire: string][] = [
      ["one://x", "one://x/y", "one://x/y"],
      ["one://x", "one://x/listed", "mcpgw+a:one://x/listed"],
      ["mcpgw+a:db://x", "db://x#y", "mcpgw+a:db://x#y"],
    ];
    for (const [uri, to, wire] of rows) {
      expect(below(uri, to)).toMatchObject({ kind: "resource", server: "a", name: to, wire });
      expect(lead(both, "resource", wire)).toMatchObject({ server: "a", name: to });
    }
  });
  test("what one caller was given changes nothing for another", () => {
    const [alice, bob] = [principal("key:alice", ["admin"]), principal("key:bob", ["admin"])];
    const given = `{"content":[${link("vault://merger")}]}`;
    const [first, second] = [catalog.find("a:t")!, catalog.find("b:t")!];
    outgoing(catalog, first, given, alice);
    expect(catalog.offers("resource", "vault://merger", null, partyOf(bob))).toBe(false);
    expect(failureOf(() => lead(catalog, "resource", "vault://merger", { who: bob })).code).toBe("unknown-resource");
    expect(outgoing(catalog, second, given, bob)).toBe(given);
    expect(lead(catalog, "resource", "vault://merger", { who: bob }).server).toBe("b");
    expect(lead(catalog, "resource", "vault://merger", { who: alice }).server).toBe("a");
    const seen = (...callers: Principal[]) => catalog.locate("vault://merger", callers).map(({ server }) => server);
    expect([seen(), seen(alice), seen(alice, bob)]).toEqual([[], ["a"], ["a", "b"]]);
  });
  test("what was handed out is bounded in number and time", () => {
    const clock = stillClock();
    const memory = createHandedOut(clock);
    memory.remember("me", "b", "other://1");
    for (let at = 0; at <= 500; at++) memory.remember("me", "a", `x://${at}`);
    memory.remember("me", "a", "y".repeat(3000));
    const servers = ["x://0", "x://1", "y".repeat(3000)].map((uri) => memory.server("me", uri));
    expect(servers).toEqual([null, "a", null]);
    // One server's many URIs push out none of another, and no server can take over another's URI.
    memory.remember("me", "a", "other://1");
    expect(memory.server("me", "other://1")).toBe("b");
    for (let at = 0; at < 999; at++) memory.remember(`caller ${at}`, "a", "x://1");
    expect(memory.server("me", "x://1")).toBe("a");
    for (let at = 0; at < 1_000; at++) memory.remember(`other ${at}`, "a", "x://1");
    expect([memory.server("me", "x://1"), memory.server("other 0", "x://1")]).toEqual([null, "a"]);
    clock.advance(86_400_001);
    expect(memory.server("other 0", "x://1")).toBeNull();
  });
  test("what a removed server handed out is its own until another hands it out, or it is there again", () => {
    const memory = createHandedOut(stillClock());
    for (const server of ["a", "b"]) memory.remember("me", server, `${server}://1`);
    memory.serve(new Set(["b", "c"]));
    expect([memory.server("me", "a://1"), memory.server("me", "b://1")]).toEqual(["a", "b"]);
    memory.serve(new Set(["a", "b", "c"]));
    memory.remember("me", "c", "a://1");
    expect(memory.server("me", "a://1")).toBe("a");
    memory.serve(new Set(["b", "c"]));
    memory.remember("me", "c", "a://1");
    expect(memory.server("me", "a://1")).toBe("c");
    memory.serve(new Set(["a", "b", "c"]));
    expect(memory.server("me", "a://1")).toBe("c");
  });
  test("of removed servers the ten removed last are remembered", () => {
    const memory = createHandedOut(stillClock());
    const all = Array.from({ length: 11 }, (_, at) => `s${at}`);
    for (const server of all) memory.remember("me", server, `x://${server}`);
    for (let left = 10; left >= 0; left--) memory.serve(new Set(all.slice(0, left)));
    const known = all.filter((server) => memory.server("me", `x://${server}`) !== null);
    expect(known).toEqual(all.slice(0, 10));
  });
  test("of one result a hundred are remembered", () => {
    const catalog = buildCatalog({ a: { tools: ["t"] } });
    const blocks = Array.from({ length: 101 }, (_, at) => link(`many://${at}`));
    outgoing(catalog, catalog.routes("tools", null)[0]!, `{"content":[${blocks.join(",")}]}`);
    expect(lead(catalog, "resource", "many://99").server).toBe("a");
    expect(failureOf(() => lead(catalog, "resource", "many://100")).code).toBe("unknown-resource");
  });
  test("it outlives a catalog", () => {
    const handedOut = createHandedOut(stillClock());
    const before = buildCatalog({ a: { tools: ["t"] } }, { handedOut });
    outgoing(before, before.routes("tools", null)[0]!, `{"content":[${link("z://1")}]}`);
    expect(lead(buildCatalog({ a: {} }, { handedOut }), "resource", "z://1").server).toBe("a");
    expect(
      failureOf(() => lead(buildCatalog({ c: {} }, { handedOut }), "resource", "z://1", { who: admin })).code,
    ).toBe("unknown-resource");
  });
});
