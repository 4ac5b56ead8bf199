import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { showConfig } from "../../src/config/explain.ts";
import { findOverrides } from "../../src/config/overrides.ts";
import { loadText } from "../support/config.ts";

const example = readFileSync(join(import.meta.dir, "../../gateway.example.yaml"), "utf8");
const env = { AGENT_KEY: "pQ7xT2mK9vL4wN8zR3cF6hJ1bD5gS0yA", FILES_TOKEN: "files-token-1", CRM_KEY: "crm-key-1" };

test("what is shown can be read again and means the same", () => {
  const file = "/etc/mcpgw/gateway.yaml";
  const loaded = loadText(example, { env, file });
  expect(loadText(showConfig(loaded), { env, file }).config).toEqual(loaded.config);
});

test("R17 nothing secret is shown, wherever it stands", () => {
  const secrets = [
    "s3cret-env",
    "s3cret-head",
    "s3cret-key-0123456789abcdefXYZ",
    "s3cret-arg",
    "s3cret-inline",
    "s3cret-login",
    "s3cret-ref",
    "s3cret-query",
    "s3cret-flag",
  ];
  const shown = showConfig(
    loadText(
      `
auth: { keys: [{ id: a, key: s3cret-key-0123456789abcdefXYZ, consumerId: c, roles: [r] }] }
servers:
  - { id: a, command: x, args: [--api-key, s3cret-arg, --token=s3cret-inline, --verbose, plain], env: { A: s3cret-env } }
  - { id: c, url: "https://example.com/mcp?key=s3cret-query&s3cret-flag&ref=\${REF}#top" }
  - { id: d, command: x, args: ["--from=http://example.com/?a=s3cret-query"] }
  - { id: b, url: "https://u:s3cret-login@example.com/", headers: { A: s3cret-head, B: "Bearer \${REF}" } }
`,
      { env: { REF: "s3cret-ref" } },
    ),
  );
  for (const secret of secrets) expect(shown).not.toContain(secret);
  expect(shown).toContain("B: Bearer ${REF}");
  expect(shown).toContain("https://example.com/mcp?key=[redacted]&[redacted]&ref=${REF}#top");
  expect(shown).toContain("- --verbose\n      - plain");
});

test("each value tells where it came from", () => {
  const overrides = findOverrides({ MCPGW_LOG_LEVEL: "debug" });
  const shown = showConfig(loadText("names: { max: 40 }", { overrides }));
  expect(shown).toContain("level: debug # MCPGW_LOG_LEVEL\n");
  expect(shown).toContain("format: json # default\n");
  expect(shown).toContain("max: 40\n");
});
