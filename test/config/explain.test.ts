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

test("R17 nor is what stands beside a reference, in an argument, or in the address of a database", () => {
  const secrets = ["s3cret-pw", "s3cret-query", "s3cret-head", "s3cret-join", "s3cret-env", "s3cret-db", "s3cret-dflt"];
  const text = `
servers:
  - { id: a, url: "wss://user:s3cret-pw@h/mcp?token=s3cret-query&u=s3cret-query\${E:-s3cret-dflt}", transport: websocket }
  - { id: b, command: x, args: [remote, --header, "Authorization: Bearer s3cret-head"] }
  - { id: c, command: x, args: ["--header=Authorization: Bearer s3cret-join", "--header=X-Api-Key: s3cret-join"] }
  - { id: d, command: x, args: [run, -e, "GITHUB_TOKEN=s3cret-env", "ghp_0123456789abcdefghij0123", MODE=fast] }
  - { id: e, command: x, args: ["postgresql://u:s3cret-db@db/x", "--at=\${REF}", "--api-key=\${REF:-s3cret-dflt}"] }
  - { id: f, url: "https://h/", headers: { A: "Bearer \${TOK:-s3cret-dflt}", B: "Basic s3cret-head\${E:-}", C: "\${REF}" } }
`;
  const shown = showConfig(loadText(text, { env: { REF: "s3cret-ref" } }));
  for (const secret of [...secrets, "s3cret-ref", "ghp_"]) expect(shown).not.toContain(secret);
  for (const part of [
    "wss://[redacted]@h/mcp?token=[redacted]&u=[redacted]${E:-[redacted]}",
    '- "Authorization: [redacted]"',
    '- "--header=X-Api-Key: [redacted]"',
    "- GITHUB_TOKEN=[redacted]",
    "- MODE=fast",
    "postgresql://[redacted]@db/x",
    "- --at=${REF}",
    "A: Bearer ${TOK:-[redacted]}",
    'B: "[redacted]${E:-[redacted]}"',
    "C: ${REF}",
  ])
    expect(shown).toContain(part);
});

test("R17 what looks like a credential in a rule or a name is shown, as it decides what is allowed", () => {
  const shown = showConfig(
    loadText(`
servers: [{ id: a, name: basic operations only, command: x }]
toolsets: [{ id: t, include: ["a:sk_search_documents_all*"] }]
rules:
  - { id: r, server: a, tool: "sk_search_documents_all*", action: deny, reason: basic operations only }
  - { id: s, server: a, resource: "https://u:login@h/x?page=*", action: deny }
`),
  );
  expect(shown).not.toContain("[redacted]");
  for (const part of ["a:sk_search_documents_all*", "tool: sk_search_documents_all*", "https://u:login@h/x?page=*"])
    expect(shown).toContain(part);
  expect(shown.match(/: basic operations only/g)).toHaveLength(2);
});

test("each value tells where it came from", () => {
  const overrides = findOverrides({ MCPGW_LOG_LEVEL: "debug" });
  const shown = showConfig(loadText("names: { max: 40 }", { overrides }));
  expect(shown).toContain("level: debug # MCPGW_LOG_LEVEL\n");
  expect(shown).toContain("format: json # default\n");
  expect(shown).toContain("max: 40\n");
});
