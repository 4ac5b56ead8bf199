import { describe, expect, test } from "bun:test";
import { createHandedOut } from "../../src/catalog/handed-out.ts";
import type { Catalog } from "../../src/core/ports.ts";
import { admin, ask, buildCatalog, lead, type Served } from "../support/catalog.ts";
import { makeTool } from "../support/call.ts";
import { failureOf } from "../support/failure.ts";
import { policyOf } from "../support/policy.ts";
import { principal, stillClock } from "../support/principal.ts";

describe("FIELD T13 no server can take over what callers read from another", () => {
  const uri = "file:///files/payroll/jan";
  const link = JSON.stringify({ content: [{ type: "resource_link", name: "x", uri }] });
  const honest: Record<string, Served> = { hl: { tools: ["t"], templates: ["file:///files/{+path}"] } };
  const ways: [how: string, forger: Served][] = [
    ["a narrower template", { templates: ["file:///files/payroll/{x}"] }],
    ["a wider template", { templates: ["{+x}"] }],
    ["the URI itself", { resources: [uri] }],
  ];
  test.each(ways)("by %s", (_how, forger) => {
    const catalog = buildCatalog({ ...honest, hm: { tools: ["t"], ...forger } });
    expect(failureOf(() => lead(catalog, "resource", uri)).detail.data).toMatchObject({
      uris: expect.arrayContaining([`mcpgw+hl:${uri}`, `mcpgw+hm:${uri}`]),
    });
    expect(lead(catalog, "resource", `mcpgw+hl:${uri}`).server).toBe("hl");
    expect(lead(catalog, "resource", uri, { scope: "hl" }).server).toBe("hl");
    for (const server of ["hl", "hm"])
      expect(catalog.outgoing(catalog.find(`${server}:t`)!, link, admin)).toContain(`"mcpgw+${server}:${uri}"`);
    expect(
      catalog
        .locate(uri, [])
        .map(({ server }) => server)
        .toSorted(),
    ).toEqual(["hl", "hm"]);
    const narrow = buildCatalog(
      { ...honest, hm: forger },
      { policy: policyOf([], { reader: [{ server: "hl", action: "allow" }] }) },
    );
    expect(lead(narrow, "resource", uri, { who: principal() }).server).toBe("hl");
  });
  test("a URI that another template matches is listed in a form that can be read, an app still as an app", () => {
    const crm = { tools: ["t"], resources: [uri, "ui://main", "db://own"] };
    const catalog = buildCatalog({ crm, hm: { templates: ["file:///{+path}", "ui://{+page}"] } });
    expect(ask(catalog, "resources").names).toEqual(["db://own", `mcpgw+crm:${uri}`, "ui://crm/main"]);
    for (const name of ask(catalog, "resources").names) expect(lead(catalog, "resource", name).server).toBe("crm");
    expect(catalog.outgoing(catalog.find("crm:t")!, link, admin)).toContain(`"mcpgw+crm:${uri}"`);
    const toApp = '{"content":[{"type":"resource_link","name":"a","uri":"ui://main"}]}';
    expect(catalog.outgoing(catalog.find("crm:t")!, toApp, admin)).toContain('"ui://crm/main"');
  });
  test("a URI beyond the limit of template comparisons is listed in that form too", () => {
    const templates = Array.from({ length: 500 }, (_, at) => `db://{+a}/${at}!`);
    const own = Array.from({ length: 600 }, (_, at) => `db://${at}`.padEnd(100, "x"));
    const { names } = ask(buildCatalog({ crm: { resources: [...own, "own://x"] }, hm: { templates } }), "resources");
    const renamed = names.filter((name) => name.startsWith("mcpgw+crm:db://"));
    expect([names.length, renamed.length, names.includes("own://x")]).toEqual([601, 200, true]);
  });
  test("links after the first ten thousand lead to their own server without a look-up", () => {
    const catalog = buildCatalog({ crm: { tools: ["t"] }, hm: {} });
    const content = Array.from({ length: 10_001 }, (_, at) => ({ type: "resource_link", uri: `db://${at}` }));
    const answer = catalog.outgoing(catalog.find("crm:t")!, JSON.stringify({ content }), admin);
    expect(answer).toContain('"db://9999"}');
    expect(answer).toEndWith('"mcpgw+crm:db://10000"}]}');
  });
  test("a server's own templates do not rename its URIs", () => {
    const catalog = buildCatalog({ a: { resources: ["db://a"], templates: ["db://{x}", "{+x}"] } });
    expect(ask(catalog, "resources").names).toEqual(["db://a"]);
    expect(lead(catalog, "resource", "db://a")).toBe(catalog.find("a:db://a", "resources")!);
  });
  test("by a template or a link for a URI that names a server that is currently gone", () => {
    const handedOut = createHandedOut(stillClock());
    const named = `mcpgw+hl:${uri}`;
    const without = buildCatalog({ hm: { tools: ["t"], templates: ["{+x}"] } }, { handedOut });
    expect(failureOf(() => lead(without, "resource", named)).code).toBe("unknown-resource");
    const own = `mcpgw+hm:${named}`;
    expect(without.outgoing(without.find("hm:t")!, link.replace(uri, named), admin)).toBe(link.replace(uri, own));
    expect(lead(without, "resource", own)).toMatchObject({ server: "hm", name: named });
    const again = buildCatalog({ ...honest, hm: {} }, { handedOut });
    expect(lead(again, "resource", named).server).toBe("hl");
  });
  test("by listing what another server handed out", () => {
    const handedOut = createHandedOut(stillClock());
    const before = buildCatalog({ a: { tools: ["t"] } }, { handedOut });
    expect(before.outgoing(before.find("a:t")!, link, admin)).toBe(link);
    const after = buildCatalog({ a: {}, hm: { resources: [uri] } }, { handedOut });
    expect(failureOf(() => lead(after, "resource", uri)).code).toBe("invalid-params");
    expect(lead(after, "resource", uri, { who: principal("key:other", ["admin"]) }).server).toBe("hm");
  });
});

describe("FIELD T13 an app that only a tool names, as with many servers", () => {
  const uri = "ui://shop/cart";
  const toolWith = (app: string, name = "buy") => ({
    ...makeTool(name),
    text: JSON.stringify({ name, inputSchema: { type: "object" }, _meta: { ui: { resourceUri: app } } }),
  });
  const buy = toolWith(uri);
  const shop: Served = { tools: [buy], resources: ["shop://orders"] };
  const appsIn = (catalog: Catalog): unknown[] =>
    JSON.parse(ask(catalog, "tools").text).tools.flatMap((tool: { _meta?: { ui: { resourceUri: string } } }) =>
      tool._meta ? [tool._meta.ui.resourceUri] : [],
    );

  test("is read from the server of that tool, and is in no list", () => {
    const catalog = buildCatalog({ crm: shop, files: { resources: ["file:///a"] } });
    expect(appsIn(catalog)).toEqual([uri]);
    expect(lead(catalog, "resource", uri)).toMatchObject({ server: "crm", name: uri, wire: uri });
    expect(ask(catalog, "resources").names).toEqual(["file:///a", "shop://orders"]);
    expect(failureOf(() => lead(catalog, "resource", uri, { scope: "files" })).code).toBe("unknown-resource");
  });
  const ways: [how: string, other: Served][] = [
    ["lists it", { resources: [uri] }],
    ["has a template for it", { templates: ["ui://shop/{page}"] }],
    ["has a tool with the same app", { tools: [buy] }],
  ];
  test.each(ways)("names its server if another server %s", (_how, other) => {
    const catalog = buildCatalog({ crm: shop, hm: other });
    const named = "ui://crm/shop/cart";
    expect(appsIn(catalog)[0]).toBe(named);
    expect(lead(catalog, "resource", named)).toMatchObject({ server: "crm", name: uri, wire: named });
    expect(failureOf(() => lead(catalog, "resource", uri)).detail.data).toMatchObject({
      servers: expect.arrayContaining(["crm", "hm"]),
    });
    expect(ask(catalog, "resources").names).not.toContain(uri);
    expect(ask(catalog, "resources").names).not.toContain(named);
    const contents = (one: string) => JSON.stringify({ contents: [{ uri: one, text: "" }] });
    const answer = catalog.outgoing(lead(catalog, "resource", named), contents(uri), admin);
    expect(answer).toBe(contents(named));
  });
  test("keeps its wire URI if another server claims both its own URI and the wire URI", () => {
    const claims = ["ui://crm/shop/cart", uri];
    const others: Served[] = [{ resources: claims }, { tools: claims.map((app, at) => toolWith(app, `t${at}`)) }];
    for (const own of [shop, { ...shop, resources: [uri] }]) {
      for (const hm of others) {
        const catalog = buildCatalog({ crm: own, hm });
        expect(catalog.missing(null)).toEqual([]);
        expect(appsIn(catalog)[0]).toBe("ui://crm/shop/cart");
        expect(lead(catalog, "resource", "ui://crm/shop/cart")).toMatchObject({ server: "crm", name: uri });
        expect(failureOf(() => lead(catalog, "resource", uri)).code).toBe("invalid-params");
        expect(lead(catalog, "resource", "ui://hm/crm/shop/cart")).toMatchObject({ server: "hm", name: claims[0] });
      }
    }
  });
  test("a URI that is not an app's, and an app that cannot have a wire URI, claim nothing", () => {
    const odd = buildCatalog({ crm: { tools: [toolWith("file:///a")] }, files: { resources: ["file:///a"] } });
    expect(ask(odd, "resources").names).toEqual(["file:///a"]);
    const evil = buildCatalog({
      crm: shop,
      evil: { tools: [toolWith("ui://a b"), toolWith(`ui://${"x".repeat(9000)}`, "b")] },
    });
    expect(evil.missing(null)).toEqual([]);
    expect(lead(evil, "resource", uri).server).toBe("crm");
  });
});

test("S23: a URI whose host is parsed in quadratic time is offered as a URI that names its server", () => {
  const uri = `https://a${"\u0301\u0323".repeat(128)}/`;
  const catalog = buildCatalog({ odd: { resources: [uri, "https://a/"] } });
  expect(ask(catalog, "resources").names).toEqual(["https://a/", `mcpgw+odd:${uri}`]);
  expect(lead(catalog, "resource", `mcpgw+odd:${uri}`).name).toBe(uri);
});
