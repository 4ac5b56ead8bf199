import { expect, test } from "bun:test";
import { nameless } from "../../src/gateway/nameless.ts";
import { buildCatalog } from "../support/catalog.ts";

const clash = (what: string, other: string) =>
  `${what} is not offered: its name cannot be distinguished from that of ${other}; set prefix: always, or rename one of them on its server`;

test("warns only about tools and prompts that no caller is offered because of their names", () => {
  const served = {
    crm: {
      prefix: "none" as const,
      tools: ["get", "put"],
      prompts: ["help"],
      resources: ["file:///a", "file:///a"],
      missing: [{ list: "tools" as const, name: "odd", reason: "its inputSchema is no object" }],
    },
    erp: { prefix: "none" as const, tools: ["get"], prompts: ["Help"] },
    files: { tools: ["get", "one", "two"] },
  };
  const toolsets = [{ id: "desk", include: ["files:*"], rename: { "files:one": "x", "files:two": "X" } }];
  expect(nameless(buildCatalog(served, { toolsets }))).toEqual([
    clash("tool crm:get", "erp:get"),
    clash("tool erp:get", "crm:get"),
    clash("prompt crm:help", "erp:Help"),
    clash("prompt erp:Help", "crm:help"),
    "tool files:one is not offered: toolset desk: its name cannot be distinguished from that of files:two; rename one",
    "others that are not offered because of their names: 1; `mcpgw servers show` lists them",
  ]);
  expect(nameless(buildCatalog({ crm: served.crm, files: served.files }))).toEqual([]);
});
