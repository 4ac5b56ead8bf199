import { describe, expect, test } from "bun:test";
import { createHandedOut } from "../../src/catalog/handed-out.ts";
import type { Route } from "../../src/core/call.ts";
import type { Catalog } from "../../src/core/ports.ts";
import type { Principal } from "../../src/core/principal.ts";
import { admin, buildCatalog, lead, type Served, partyOf } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { policyOf } from "../support/policy.ts";
import { principal, stillClock } from "../support/principal.ts";

const outgoing = (catalog: Catalog, route: Route, text: string, who = admin): string =>
  catalog.outgoing(route, text, who);

describe("URIs in results", () => {
  const link = (uri: string) => `{"type":"resource_link","uri":${JSON.stringify(uri)},"name":"n","size":1.10}`;
  const twins: Record<string, Served> = {
    a: { tools: ["t"], resources: ["db://x", "own://x"], templates: ["doc://{id}"] },
    b: { tools: ["t"], resources: ["db://x"], templates: ["b://{id}"] },
  };
  const catalog = buildCatalog(twins);
  const [tool] = catalog.routes("tools", null);

  test("links and embedded resources have their URI on the wire; nothing else changes", () => {
    const text = (x: string) =>
      `{ "content" : [ ${link(x)}, {"type":"text","text":"db://x"}, {"type":"resource","resource":{"uri":"${x}","text":"\\"uri\\":\\"db://x\\""}}, {"type":"other","uri":"db://x"} ],"structuredContent":{"uri":"db://x","n":1e400},"_meta":{"ui":{"resourceUri":"${x}"},"ui/resourceUri":"${x}","v":2.0}}`;
    expect(outgoing(catalog, tool!, text("db://x"))).toBe(text("mcpgw+a:db://x"));
    expect(outgoing(catalog, tool!, text("own://x"))).toBe(text("own://x"));
  });
  test("links beyond the limit of template comparisons still lead to their own server", () => {
    const templates = Array.from({ length: 500 }, (_, i) => `db://{+a}/${i}/{+b}!`);
    const many = buildCatalog({ ...twins, many: { tools: ["t"], templates } });
    const uris = ["db://x", ...Array.from({ length: 200 }, (_, i) => `db://${i}`.padEnd(100, "x")), "db://x"];
    const answer = outgoing(many, many.find("many:t")!, `{"content":[${uris.map(link).join()}]}`);
    expect(answer).toStartWith(`{"content":[${link("mcpgw+many:db://x")},${link("db://0".padEnd(100, "x"))}`);
    expect(answer).toEndWith(`${link(`mcpgw+many:${"db://199".padEnd(100, "x")}`)},${link("mcpgw+many:db://x")}]}`);
  });
  test("templates with another prefix do not count toward that limit", () => {
    const templates = Array.from({ length: 500 }, (_, i) => `db${i}://{+a}/{+b}!`);
    const many = buildCatalog({ ...twins, many: { tools: ["t"], templates } });
    const uris = Array.from({ length: 300 }, () => "db://x".padEnd(100, "x"));
    const text = `{"content":[${[...uris, "db://x"].map(link).join()}]}`;
    expect(outgoing(many, many.find("many:t")!, text)).toContain("mcpgw+many:db://x");
  });
  test("URIs in prompts, resources and finished tasks are rewritten too", () => {
    const prompt = (x: string) =>
      `{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"${x}"}}}]}`;
    expect(outgoing(catalog, tool!, prompt("db://x"))).toBe(prompt("mcpgw+a:db://x"));
    const task = (x: string) =>
      `{"taskId":"1","status":"completed","result":{"content":[${link(x)}],"_meta":{"ui":{"resourceUri":"${x}"},"v":1.0}}}`;
    expect(outgoing(catalog, tool!, task("db://x"))).toBe(task("mcpgw+a:db://x"));
    const read = (x: string) => `{"contents":[{"uri":"${x}","text":""},{"uri":"own://x"}]}`;
    expect(outgoing(catalog, lead(catalog, "resource", "mcpgw+a:db://x"), read("db://x"))).toBe(read("mcpgw+a:db://x"));
  });
  test("SEP-2640: URIs in skills, their files and directories are rewritten too, but not in a tool's result", () => {
    const skill = (x: string) =>
      `{"resources":[{"uri":"${x}","digest":"d"},{"uri":"own://x"}], "uri" : "${x}","frontmatter":{"uri":"db://x"}}`;
    const texts = [
      (x: string) => `{"skills":[${skill(x)},{"uri":"own://x","resources":"dynamic"}],"nextCursor":"c"}`,
      (x: string) => `{"skill":${skill(x)}}`,
      (x: string) => `{"resources":[{"name":"n","uri":"${x}"}]}`,
    ];
    const method = catalog.routeTo("extension", "a", "skills/list");
    for (const text of texts) {
      expect(outgoing(catalog, method, text("db://x"))).toBe(text("mcpgw+a:db://x"));
      expect(outgoing(catalog, tool!, text("db://x"))).toBe(text("db://x"));
    }
    const uri = "skill://pdf/SKILL.md";
    expect(failureOf(() => lead(catalog, "resource", uri)).code).toBe("unknown-resource");
    expect(outgoing(catalog, method, texts[0]!(uri))).toBe(texts[0]!(uri));
    expect(lead(catalog, "resource", uri)).toMatchObject({ server: "a", name: uri });
  });
  test.each([
    (x: string) => `{"content":[{"type":"resource\\u005flink","uri":"${x}"}]}`,
    (x: string) => `{"content":[{"type":"resource_link","\\u0075ri":"${x}"}]}`,
    (x: string) => `{"content":[],"_meta":{"ui":{"resource\\u0055ri":"${x}"}}}`,
  ])("a link is recognized in any JSON spelling: %p", (spelled) => {
    expect(outgoing(catalog, tool!, spelled("db://x"))).toBe(spelled("mcpgw+a:db://x"));
  });
  test("a text without links is returned unchanged", () => {
    const text = '{"content":[{"type":"text","text":"hello"}]}';
    expect(outgoing(catalog, tool!, text)).toBe(text);
  });
  test("a URI that is in no list can be read after it was handed out, if policy allows it", () => {
    const uri = "hidden://note/1";
    expect(failureOf(() => lead(catalog, "resource", uri)).code).toBe("unknown-resource");
    expect(outgoing(catalog, tool!, `{"content":[${link(uri)}]}`)).toBe(`{"content":[${link(uri)}]}`);
    expect(lead(catalog, "resource", uri)).toMatchObject({ server: "a", name: uri });
    const reader = principal("key:b", ["reader"]);
    expect(
      policyOf([], { reader: [{ server: "b", action: "allow" }] }).lists(reader, lead(catalog, "resource", uri)),
    ).toBe(false);
  });
  test("a server cannot take over another server's URI by handing it out: its link names itself", () => {
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
  test("a URI below a resource leads to the server of that resource", () => {
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
  test("a URI that was handed out to one caller changes nothing for another", () => {
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
  test("the memory of handed-out URIs is limited in number and time", () => {
    const clock = stillClock();
    const memory = createHandedOut(clock);
    memory.remember("me", "b", "other://1");
    for (let at = 0; at <= 500; at++) memory.remember("me", "a", `x://${at}`);
    memory.remember("me", "a", "y".repeat(3000));
    const servers = ["x://0", "x://1", "y".repeat(3000)].map((uri) => memory.server("me", uri));
    expect(servers).toEqual([null, "a", null]);
    // One server's many URIs evict none of another server, and no server can take over another's URI.
    memory.remember("me", "a", "other://1");
    expect(memory.server("me", "other://1")).toBe("b");
    for (let at = 0; at < 999; at++) memory.remember(`caller ${at}`, "a", "x://1");
    expect(memory.server("me", "x://1")).toBe("a");
    for (let at = 0; at < 1_000; at++) memory.remember(`other ${at}`, "a", "x://1");
    expect([memory.server("me", "x://1"), memory.server("other 0", "x://1")]).toEqual([null, "a"]);
    clock.advance(86_400_001);
    expect(memory.server("other 0", "x://1")).toBeNull();
  });
  test("a removed server keeps its handed-out URIs until another hands them out; if it returns, it still has them", () => {
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
  test("only the ten most recently removed servers are remembered", () => {
    const memory = createHandedOut(stillClock());
    const all = Array.from({ length: 11 }, (_, at) => `s${at}`);
    for (const server of all) memory.remember("me", server, `x://${server}`);
    for (let left = 10; left >= 0; left--) memory.serve(new Set(all.slice(0, left)));
    const known = all.filter((server) => memory.server("me", `x://${server}`) !== null);
    expect(known).toEqual(all.slice(0, 10));
  });
  test("only a hundred links of one result are remembered", () => {
    const catalog = buildCatalog({ a: { tools: ["t"] } });
    const blocks = Array.from({ length: 101 }, (_, at) => link(`many://${at}`));
    outgoing(catalog, catalog.routes("tools", null)[0]!, `{"content":[${blocks.join(",")}]}`);
    expect(lead(catalog, "resource", "many://99").server).toBe("a");
    expect(failureOf(() => lead(catalog, "resource", "many://100")).code).toBe("unknown-resource");
  });
  test("the memory outlives a catalog", () => {
    const handedOut = createHandedOut(stillClock());
    const before = buildCatalog({ a: { tools: ["t"] } }, { handedOut });
    outgoing(before, before.routes("tools", null)[0]!, `{"content":[${link("z://1")}]}`);
    expect(lead(buildCatalog({ a: {} }, { handedOut }), "resource", "z://1").server).toBe("a");
    expect(
      failureOf(() => lead(buildCatalog({ c: {} }, { handedOut }), "resource", "z://1", { who: admin })).code,
    ).toBe("unknown-resource");
  });
});
