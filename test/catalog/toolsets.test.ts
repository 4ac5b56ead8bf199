import { describe, expect, test } from "bun:test";
import { loopback, remote } from "../support/call.ts";
import { ask, buildCatalog, lead } from "../support/catalog.ts";
import { failureOf } from "../support/failure.ts";
import { policyOf } from "../support/policy.ts";
import { principal } from "../support/principal.ts";

// What a toolset includes that is in none of its lists, and who has access to a toolset at all.

describe("S32: a toolset is no wider than what it includes", () => {
  const served = {
    crm: { tools: ["get", "put"] },
    files: { tools: ["find"], resources: ["file:///srv/x"], templates: ["file:///{+path}"] },
  };
  const toolsets = [
    { id: "all", include: ["*:*"] },
    { id: "whole", include: ["files:*"], exclude: ["files:file:///etc/*"] },
    { id: "some", include: ["crm:get", "files:find", "files:file:///srv/*"] },
    { id: "named", include: ["files:admin/*"] },
  ];
  const catalog = buildCatalog(served, { toolsets });
  const scopes = [null, "files", "crm", "gone", ...toolsets.map(({ id }) => id)];

  test("an extension's method is in a toolset that includes its server or the method itself", () => {
    const extension = { kind: "extension", server: "files", name: "admin/do", tool: null } as const;
    const route = { ...extension, canonical: "files:admin/do", wire: "admin/do" };
    expect(scopes.filter((scope) => catalog.admits(route, scope))).toEqual([null, "files", "all", "whole", "named"]);
  });

  test("a tool is in a toolset that includes it", () => {
    const admitted = (name: string) => {
      const route = lead(catalog, "tool", name);
      return scopes.filter((scope) => catalog.admits(route, scope));
    };
    expect(admitted("crm__get")).toEqual([null, "crm", "all", "some"]);
    expect(admitted("crm__put")).toEqual([null, "crm", "all"]);
  });

  test("a template is listed if a toolset includes some of its URIs, and completed if it includes all of them", () => {
    const complete = (scope: string | null) =>
      lead(catalog, "resource", "file:///{+path}", { scope, method: "completion/complete" });
    for (const scope of [null, "files", "all"]) expect(complete(scope).template).toBe(true);
    for (const scope of ["some", "whole"]) {
      expect(ask(catalog, "resourceTemplates", { scope }).names).toEqual(["file:///{+path}"]);
      expect(failureOf(() => complete(scope)).code).toBe("unknown-resource");
    }
    expect(failureOf(() => complete("named")).code).toBe("unknown-resource");
  });

  test("a pattern for the URIs of another scheme does not exclude a template", () => {
    const templates = ["m://ok/{id}", "m://secret/{id}", "m://{+any}"];
    const toolset = { id: "ts", include: ["*:*"], exclude: ["*:secret*", "*:*://secret/*", "*:ui://*"] };
    const open = buildCatalog({ m: { templates } }, { toolsets: [toolset] });
    const complete = (name: string) =>
      lead(open, "resource", name, { scope: "ts", method: "completion/complete" }).name;
    expect(ask(open, "resourceTemplates", { scope: "ts" }).names.toSorted()).toEqual(["m://ok/{id}", "m://{+any}"]);
    expect(complete("m://ok/{id}")).toBe("m://ok/{id}");
    for (const name of ["m://secret/{id}", "m://{+any}"])
      expect(failureOf(() => complete(name)).code).toBe("unknown-resource");
  });
});

test("S32: a server or toolset is a scope only for a caller that may use something of its servers", () => {
  const policy = policyOf([], {
    reader: [{ server: "files", resource: "file:///*", action: "allow" }],
    near: [{ server: "crm", when: { "source.loopback": { eq: true } }, action: "allow" }],
    caller: [{ server: "mcpgw", tool: "call", action: "allow" }],
  });
  const toolsets = [
    { id: "desk", include: ["crm:*"] },
    { id: "both", include: ["crm:*", "files:*"] },
    { id: "own", include: ["mcpgw:*"] },
  ];
  const served = { crm: { tools: ["get"] }, files: {}, off: { enabled: false }, mcpgw: { tools: ["call"] } };
  const catalog = buildCatalog(served, { toolsets, policy, unconfigured: ["mcpgw"] });
  const seen = (role: string, from = loopback) =>
    ["crm", "files", "off", "mcpgw", "gone", "desk", "both", "own"].filter((id) =>
      catalog.hasScopeFor(id, principal("key:x", [role]), from),
    );
  expect(seen("reader")).toEqual(["files", "both"]);
  expect([seen("near"), seen("near", remote)]).toEqual([["crm", "desk", "both"], []]);
  expect([seen("caller"), seen("nobody")]).toEqual([["own"], []]);
});
