import { describe, expect, test } from "bun:test";
import { createHandedOut } from "../../src/catalog/handed-out.ts";
import { makeCall } from "../support/call.ts";
import { admin, buildCatalog, lead, type Served } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { policyOf } from "../support/policy.ts";
import { principal, stillClock } from "../support/principal.ts";

describe("a URI that nothing has named", () => {
  const has: Served = { resources: ["db://a"], capabilities: { resources: {} } };
  const other: Served = { capabilities: { tools: {} } };
  const uri = "test://none";
  const to = (served: Record<string, Served>, asked: Parameters<typeof lead>[3] = {}, wanted = uri) => {
    const toolsets = [{ id: "some", include: ["a:test://*", "b:*"], exclude: ["a:test://secret"] }];
    return () => lead(buildCatalog(served, { toolsets }), "resource", wanted, asked);
  };
  const missing = (...asked: Parameters<typeof to>) => expect(failureOf(to(...asked)).code).toBe("unknown-resource");

  test("leads to the only server in scope that has resources", () => {
    expect(to({ a: has, b: other })()).toMatchObject({ server: "a", name: uri, wire: uri, canonical: `a:${uri}` });
    expect(to({ a: has, b: { capabilities: {} } })()).toMatchObject({ server: "a" });
    expect(to({ a: has, b: { capabilities: { resources: {} } } }, { scope: "a" })()).toMatchObject({ server: "a" });
  });
  test("leads nowhere if it may belong to another server", () => {
    missing({ a: has, b: { capabilities: { resources: {} } } });
    missing({ a: has, b: {} });
    missing({ a: other });
    missing(
      { a: has, b: { ...other, resources: ["b://listed"], templates: ["t://{x}"] } },
      { scope: "a" },
      "b://listed",
    );
    missing({ a: has, b: { ...other, templates: ["t://{x}"] } }, { scope: "a" }, "t://1");
  });
  test("leads nowhere if it names another server, or nothing", () => {
    for (const wanted of ["mcpgw+gone:db://a", "mcpgw+a", ""]) missing({ a: has }, {}, wanted);
  });
  test("must be included in the toolset", () => {
    expect(to({ a: has }, { scope: "some" })()).toMatchObject({ server: "a" });
    missing({ a: has }, { scope: "some" }, "test://secret");
    missing({ a: has }, { scope: "some" }, "else://1");
  });
  test("is not completed", () => missing({ a: has }, { method: "completion/complete" }));
  test("leads nowhere if a removed server had handed it out to the caller", () => {
    const handedOut = createHandedOut(stillClock());
    handedOut.remember(admin.id, "gone", uri);
    handedOut.serve(new Set(["a"]));
    const catalog = buildCatalog({ a: has }, { handedOut });
    expect(failureOf(() => lead(catalog, "resource", uri)).code).toBe("unknown-resource");
    expect(lead(catalog, "resource", uri, { who: principal("key:bob", ["admin"]) }).server).toBe("a");
  });
  test("is refused as if it were missing if policy lets the caller read nothing of this kind", () => {
    const policy = policyOf([], { reader: [{ server: "a", resource: "db://*", action: "allow" }] });
    const who = principal("key:b", ["reader"]);
    const route = lead(buildCatalog({ a: has }, { policy }), "resource", uri, { who });
    const call = makeCall({ method: "resources/read" });
    const failure = failureOf(() => policy.decide(call, who, route));
    expect([failure.code, failure.message]).toEqual(["unknown-resource", `Resource not found: ${uri}`]);
  });
});
