import { expect, test } from "bun:test";
import { discoverResult, initializeResult, negotiate } from "../../src/mcp/handshake.ts";
import { isModern } from "../../src/mcp/revisions.ts";

const capabilities = '{"tools":{"listChanged":true},"x":1.0}';
const us = { server: { name: "mcpgw", version: "9" }, capabilities, instructions: null };

test.each([
  ["2024-11-05", "2024-11-05"],
  ["2025-03-26", "2025-03-26"],
  ["2025-06-18", "2025-06-18"],
  ["2025-11-25", "2025-11-25"],
  ["2026-07-28", "2025-11-25"],
  ["2024-10-07", "2025-11-25"],
  ["", "2025-11-25"],
  [undefined, "2025-11-25"],
  [7, "2025-11-25"],
])("%p is answered with %s", (requested, revision) => expect(negotiate(requested)).toBe(revision as never));

test("which revisions are modern", () => {
  const names = ["2025-11-25", "2026-07-28", "2027-01-01", "2026-07-28, 2026-07-28", "9", "latest"];
  expect(names.filter(isModern)).toEqual(["2026-07-28", "2027-01-01"]);
});

test("a legacy client gets its revision, the capabilities and the instructions", () => {
  expect(JSON.parse(initializeResult("2025-06-18", { ...us, instructions: "Read this." }))).toEqual({
    protocolVersion: "2025-06-18",
    capabilities: { tools: { listChanged: true }, x: 1 },
    serverInfo: { name: "mcpgw", version: "9" },
    instructions: "Read this.",
  });
});

test("a modern client gets all supported revisions, newest first, in a result that must not be cached", () => {
  expect(JSON.parse(discoverResult(us))).toEqual({
    resultType: "complete",
    supportedVersions: ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"],
    capabilities: { tools: { listChanged: true }, x: 1 },
    ttlMs: 0,
    cacheScope: "private",
    _meta: { "io.modelcontextprotocol/serverInfo": { name: "mcpgw", version: "9" } },
  });
  expect(JSON.parse(discoverResult({ ...us, instructions: "Read this." })).instructions).toBe("Read this.");
});
