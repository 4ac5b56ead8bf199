import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { readTemplate } from "../../src/core/uri-template.ts";
import { makeCall } from "../support/call.ts";
import { admin, ask, buildCatalog, lead, type Served, partyOf } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { policyOf } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

const uris = (served: Record<string, Served>) => ask(buildCatalog(served), "resources").names;
const gone = (served: Record<string, Served>) =>
  buildCatalog(served)
    .missing(null)
    .map(({ kind, canonical }) => `${kind} ${canonical}`);

describe("URIs on the wire", () => {
  const rows: [what: string, served: Record<string, Served>, names: string[], gone: string[]][] = [
    [
      "FIELD T13 unique URIs stay unchanged, even opaque ones",
      { crm: { resources: ["ui://app/main", "x:opaque%2F?a=b#c"] }, files: { resources: ["file:///a"] } },
      ["file:///a", "ui://app/main", "x:opaque%2F?a=b#c"],
      [],
    ],
    [
      "a URI that two servers have names its server",
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
      "FIELD T13 an app that looks like another server's names its own server",
      { crm: { resources: ["ui://a"] }, files: { resources: ["ui://a"] }, evil: { resources: ["ui://crm/a"] } },
      ["ui://crm/a", "ui://evil/crm/a", "ui://files/a"],
      [],
    ],
    [
      "a server may name its own apps freely",
      { crm: { resources: ["ui://crm/a"] }, evil: { templates: ["ui://crm/{x}!"] }, odd: { resources: ["ui://crm"] } },
      ["ui://crm", "ui://crm/a"],
      [],
    ],
    [
      "a wire URI that another URI of the same server already has is given to neither",
      { crm: { resources: ["ui://a", "ui://crm/a"] }, files: { resources: ["ui://a"] } },
      ["ui://files/a"],
      ["resource crm:ui://a", "resource crm:ui://crm/a"],
    ],
    [
      "the gateway's own form of URIs is refused",
      { crm: { resources: ["db://a"] }, evil: { resources: ["mcpgw+crm:db://a"] } },
      ["db://a"],
      ["resource evil:mcpgw+crm:db://a"],
    ],
    [
      "a URI that is twice in a list",
      { crm: { resources: ["db://a", "db://b", "db://a"] } },
      ["db://b"],
      ["resource crm:db://a", "resource crm:db://a"],
    ],
    [
      "a URI that is too long to be requested",
      { crm: { resources: [`db://${"x".repeat(8000)}`, "db://a"] } },
      ["db://a"],
      [`resource crm:db://${"x".repeat(8000)}`],
    ],
    [
      "a text that is not a valid URI",
      { crm: { resources: ["my_crm://a", "/a"] } },
      ["mcpgw+crm:/a", "mcpgw+crm:my_crm://a"],
      [],
    ],
    [
      "a text that is not a valid URI even behind its server",
      { crm: { resources: ["//a b"] } },
      [],
      ["resource crm://a b"],
    ],
    ["an empty URI", { crm: { resources: ["", "db://a"] } }, ["db://a"], ["resource crm:"]],
  ];
  test.each(rows)("%s", (_what, served, names, without) => {
    expect(uris(served)).toEqual(names);
    expect(gone(served).toSorted()).toEqual(without.toSorted());
  });
  test("templates are treated in the same way", () => {
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

  test("if several servers have a URI, the error names both and the URIs to use", () => {
    for (const uri of ["db://a", "any://z", "crm://two/deep/a/b"]) {
      const failure = failureOf(() => lead(catalog, "resource", uri));
      expect(failure.code).toBe("invalid-params");
      const { servers, uris: ways } = failure.detail.data as { servers: string[]; uris: string[] };
      expect(failure.message).toContain(servers.join(" and "));
      expect(ways).toEqual(servers.map((server) => `mcpgw+${server}:${uri}`));
      for (const [at, way] of ways.entries()) expect(lead(catalog, "resource", way).server).toBe(servers[at] ?? "");
    }
  });

  test("a caller that may use only one of them reads from that one and does not learn about the others", () => {
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
    "S32 unknown: %p is refused in the same way as a hidden URI",
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

  test("a template's text leads to the template for completion, but not for reading", () => {
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

  test("a server's own URI has one route, listed or not, and a method of the same name has another", () => {
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

  test("S23: little of what callers invent is remembered: only the last long URI; URIs that are too long are refused", () => {
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

  test("a long URI that several callers were given has one route", () => {
    const catalog = buildCatalog({ a: {} });
    const callers = [principal("key:one", ["admin"]), principal("key:two", ["admin"])];
    const uri = "db://".padEnd(1000, "x");
    const result = JSON.stringify({ content: [{ type: "resource_link", name: "x", uri }] });
    for (const who of callers) catalog.outgoing(catalog.routeTo("resource", "a", "db://from"), result, who);
    expect(catalog.locate(uri, callers)).toHaveLength(1);
  });

  test("routes that did not change are reused", () => {
    const after = buildCatalog({ ...served, more: { resources: ["new://x"] } }, { previous: catalog });
    const [route] = catalog.routes("resources", null);
    expect(after.find(route?.canonical ?? "", "resources")).toBe(route!);
    expect(catalog.locate("crm://one", [])).toEqual([catalog.find("crm:crm://one", "resources")!]);
  });
});

test("a template matches every URI that it produces", () => {
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
