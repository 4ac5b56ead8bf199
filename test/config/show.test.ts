import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { dataYaml, shownData, shownYaml } from "../../src/config/show.ts";
import { findOverrides } from "../../src/config/overrides.ts";
import { loadText } from "../support/config.ts";

const example = readFileSync(join(import.meta.dir, "../../gateway.example.yaml"), "utf8");
const env = { AGENT_KEY: "pQ7xT2mK9vL4wN8zR3cF6hJ1bD5gS0yA", FILES_TOKEN: "files-token-1", CRM_KEY: "crm-key-1" };

test("the output can be loaded again and means the same", () => {
  const file = "/etc/mcpgw/gateway.yaml";
  const loaded = loadText(example, { env, file });
  expect(loadText(shownYaml(loaded), { env, file }).config).toEqual(loaded.config);
});

test("an IPv6 address is shown as a file would write it", () => {
  expect(parse(shownYaml(loadText('listen: { http: "[::1]:8080" }'))).listen.http).toBe("[::1]:8080");
});

test("R29: a value from an older or longer spelling is not marked as a default", () => {
  const text = `{ rateLimit: { defaultPerMinute: 30 }, metering: { enabled: false }, auth: { methods: [{ type: api-key }] } }`;
  const shown = shownYaml(loadText(text)).split("\n");
  expect(shown.filter((line) => /perMinute|burst|enabled|type/.test(line)).map((line) => line.trim())).toEqual([
    "enabled: false",
    "type: api-key",
    "perMinute: 30/m",
    "burst: 30",
  ]);
  expect(shownYaml(loadText("{}"))).toContain("type: api-key # default");
});

test("R29: a size is shown with its unit, and a server's default isolation next to its id", () => {
  const url = "https://a.example/mcp";
  const servers = [
    { id: "a", builtin: "calculator" },
    { id: "b", command: "tool" },
    { id: "c", url },
    { id: "d", url, protocol: "modern" },
    { id: "e", url, protocol: "legacy" },
    { id: "f", url, isolation: "per-session" },
  ];
  const loaded = loadText(JSON.stringify({ servers, limits: { body: 3 * 1024, result: 1001 } }));
  const shown = shownYaml(loaded);
  expect(shown).toContain("body: 3KiB\n");
  expect(shown).toContain("result: 1001\n");
  // Programs that read the JSON get numbers of bytes; `--running` prints the same data as YAML.
  const data = shownData(loaded);
  expect(data).toMatchObject({ limits: { body: 3 * 1024, result: 1001 } });
  expect(dataYaml(data)).toContain("body: 3KiB\n");
  expect(shown.match(/id: \w.*/g)).toEqual([
    "id: a # isolation: shared, by default",
    "id: b # isolation: per-principal, by default",
    "id: c # isolation: shared if it speaks 2026-07-28, else per-principal, by default",
    "id: d # isolation: shared, by default",
    "id: e # isolation: per-principal, by default",
    "id: f",
  ]);
});

test("a rate is shown in its text form, or as a number if it has none", () => {
  for (const [written, shown] of [
    ["5/h", "5/h"],
    ["7/h", "7/h"],
    ["1000/h", "1000/h"],
    ["2/s", "120/m"],
    [60, "60/m"],
    [1.5, "90/h"],
    [0.01, 0.01],
  ]) {
    const key = `{ id: a, key: "\${AGENT_KEY}", consumerId: a, roles: [r], rateLimit: ${written} }`;
    const text = `{ auth: { keys: [${key}] }, limits: { perMinute: ${written}, perTool: [{ tool: "*", perMinute: ${written} }] } }`;
    expect(parse(shownYaml(loadText(text, { env })))).toMatchObject({
      auth: { keys: [{ rateLimit: shown }] },
      limits: { perMinute: shown, perTool: [{ perMinute: shown }] },
    });
  }
});

test("R17 no secret is shown, wherever it is", () => {
  const secrets = [
    "hunter2",
    "s3cret-env",
    "s3cret-head",
    "s3cret-key-0123456789abcdefXYZ",
    "s3cret-arg",
    "s3cret-inline",
    "s3cret-login",
    "pr0xy",
    "s3cret-ref",
    "s3cret-query",
    "s3cret-fragment",
    "s3cret-flag",
  ];
  const shown = shownYaml(
    loadText(
      `
auth:
  keys:
    - { id: a, key: s3cret-key-0123456789abcdefXYZ, consumerId: c, roles: [r] }
    - { id: b, key: "\${UNSET:-hunter2}", consumerId: c, roles: [r] }
servers:
  - { id: a, name: s3cret-ref, command: x, args: [--api-key, s3cret-arg, --token=s3cret-inline, --verbose, plain], env: { A: s3cret-env } }
  - { id: c, url: "https://example.com/mcp?key=s3cret-query&s3cret-flag&ref=\${REF}#s3cret-fragment&at=s3cret-fragment" }
  - { id: d, command: x, args: ["--from=http://example.com/?a=s3cret-query"] }
  - { id: b, url: "https://u:s3cret-login@example.com/", proxy: "http://u:pr0xy@example.com:80", headers: { A: s3cret-head, B: "Bearer \${REF}" } }
`,
      { env: { REF: "s3cret-ref" } },
    ),
  );
  for (const secret of secrets) expect(shown).not.toContain(secret);
  expect(shown).toContain("B: Bearer ${REF}");
  expect(shown).toContain("https://example.com/mcp?key=[redacted]&[redacted]&ref=${REF}#[redacted]&at=[redacted]");
  expect(shown).toContain("- --verbose\n      - plain");
});

test("R17 text next to a reference, in an argument or in a database URL is not shown", () => {
  const secrets = ["s3cret-pw", "s3cret-query", "s3cret-head", "s3cret-join", "s3cret-env", "s3cret-db", "s3cret-dflt"];
  const text = `
servers:
  - { id: a, url: "wss://user:s3cret-pw@h/mcp?token=s3cret-query&u=s3cret-query\${E:-s3cret-dflt}", transport: websocket }
  - { id: b, command: x, args: [remote, --header, "Authorization: Bearer s3cret-head"] }
  - { id: c, command: x, args: ["--header=Authorization: Bearer s3cret-join", "--header=X-Api-Key: s3cret-join"] }
  - { id: d, command: x, args: [run, -e, "GITHUB_TOKEN=s3cret-env", "ghp_0123456789abcdefghij0123", MODE=fast] }
  - { id: e, command: x, args: ["postgresql://u:s3cret-db@db/x", "--at=\${REF}", "--api-key=\${REF:-s3cret-dflt}"] }
  - { id: f, url: "https://h/", headers: { A: "Bearer \${TOK:-s3cret-dflt}", B: "Basic s3cret-head\${E:-}", C: "\${REF}" } }
  - { id: g, command: x, env: { PEM: "\${TOK:-first\\ns3cret-dflt}" } }
`;
  const shown = shownYaml(loadText(text, { env: { REF: "s3cret-ref" } }));
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

test("R17 the rest of a password with an @, or escaped text that looks like a reference, is not shown", () => {
  const shown = shownYaml(
    loadText(`
servers:
  - { id: a, url: "https://bob:hun@ter22@h.example/mcp" }
  - { id: b, command: x, args: ["https://bob:hun@ter22@h.example/mcp"], env: { A: "pa$\${ter22}word", B: "$$\${ter22}" } }
`),
  );
  expect(shown).not.toContain("ter22");
  expect(shown.match(/https:\/\/\[redacted\]@h.example\/mcp/g)).toHaveLength(2);
  expect(shown).toContain('A: "[redacted]"');
});

describe("R17 the text after a secret's name within an argument is masked", () => {
  const table: [string, string][] = [
    ["mysql --password hunter22 -h db", "mysql --password [redacted]"],
    ["--token hunter22", "--token [redacted]"],
    ["-token hunter22", "-token [redacted]"],
    ["password = hunter22", "password = [redacted]"],
    ["password : hunter22", "password : [redacted]"],
    ["{'api_key': 'hunter22'}", "{'api_key': [redacted]"],
    ["curl -u bob:hunter22 h", "curl -u bob:[redacted]"],
    ["curl --user=bob:hunter22 --token x", "curl --user=bob:[redacted]"],
    ["https://h/x#access=hunter22", "https://h/x#access=[redacted]"],
    ["curl --proxy-user bob:hunter22 h", "curl --proxy-user bob:[redacted]"],
    ["curl -ubob:hunter22 h", "curl -ubob:[redacted]"],
    ["curl -Ubob:hunter22 h", "curl -Ubob:[redacted]"],
    ["--token -hunter22", "--token [redacted]"],
    ["https://h?user=a@b.example&token=hunter22", "https://[redacted]"],
    ["https://h:80#a@b.example&token=hunter22/x", "https://[redacted]"],
    ["https://bob:hun?ter22@h/x", "https://[redacted]"],
    ["https://a:hunter22@h https://b:hunter22@h", "https://[redacted]@h https://[redacted]@h"],
    ["docker run -u 1000:1000 x", "docker run -u 1000:1000 x"],
    ["docker run -u=1000:1000 x", "docker run -u=1000:1000 x"],
    ["docker run -u1000:1000 x", "docker run -u1000:1000 x"],
    ["-url=https://h/x", "-url=https://h/x"],
    ["--no-cookie  --verbose", "--no-cookie  --verbose"],
    ["mysql --password -h db", "mysql --password -h db"],
    ["tool --token -", "tool --token -"],
    ["mode = fast", "mode = fast"],
    ["https://h/x?#", "https://h/x?#"],
  ];
  for (const [argument, expected] of table) {
    test(argument, () => {
      const args = JSON.stringify([argument]);
      expect(argsOf(`servers: [{ id: a, command: x, args: ${args} }]`)).toEqual([expected]);
    });
  }

  test("the argument after a secret's flag is masked too", () => {
    const text =
      'servers: [{ id: a, command: x, args: [-u, "bob:hunter22", -u, "1000:1000", -u, root, "-ubob:hunter22", x] }]';
    expect(argsOf(text)).toEqual(["-u", "[redacted]", "-u", "1000:1000", "-u", "root", "-ubob:[redacted]", "x"]);
    const others = 'servers: [{ id: a, command: x, args: [--token, "-hunter22", --token, -v, --token, --verbose] }]';
    expect(argsOf(others)).toEqual(["--token", "[redacted]", "--token", "-v", "--token", "--verbose"]);
  });
});

/** Returns the arguments of the first server as they are shown. */
function argsOf(text: string): unknown {
  return parse(shownYaml(loadText(text))).servers[0].args;
}

test("R17 text in a rule or name that looks like a credential is shown, since it decides what is allowed", () => {
  const shown = shownYaml(
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

test("each value has its origin", () => {
  const env = { MCPGW_LOG_LEVEL: "debug", MCPGW_STATE: "/env", MCPGW_SOCKET: "env.sock" };
  const overrides = findOverrides({ env, cwd: "/here" }, { state: "flag" });
  const shown = shownYaml(loadText("{ names: { max: 40 }, state: file, control: { socket: file } }", { overrides }));
  expect(shown).toContain("level: debug # MCPGW_LOG_LEVEL\n");
  expect(shown).toContain("format: json # default\n");
  expect(shown).toContain("max: 40\n");
  expect(shown).toContain("state: /here/flag # --state\n");
  expect(shown).toContain("socket: /here/env.sock # MCPGW_SOCKET\n");
});
