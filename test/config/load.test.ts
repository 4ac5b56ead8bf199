import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { newKey } from "../../src/authn/new-key.ts";
import { loadConfig, loadOwnParts, loadTags } from "../../src/config/load.ts";
import { findOverrides } from "../../src/config/overrides.ts";
import { ConfigError } from "../../src/config/problem.ts";
import { loadingFrom } from "../../src/daemon/loading.ts";
import { examine } from "../../src/policy/findings.ts";
import { loadText, refusal } from "../support/config.ts";
import { TempDir } from "../support/temp-dir.ts";

setDefaultTimeout(30_000);

const firstDocument = readFileSync(join(import.meta.dir, "../fixtures/config/first-document.yaml"), "utf8");
const strong = "pQ7xT2mK9vL4wN8zR3cF6hJ1bD5gS0yA";
const env = { STRIPE_SECRET_KEY: "sk_live_0123456789" };

test("R1 R3 R4 the example of the first document loads as written, with a warning about its placeholder key", () => {
  const { config, warnings, secrets } = loadText(firstDocument, { env });
  const placeholder = warnings.find(({ path }) => path === "auth.keys[0].key");
  expect(placeholder).toMatchObject({ line: 5, column: 12, message: expect.stringContaining("mcpgw keys create") });
  expect(config.servers).toMatchObject([
    { id: "mcp-fred", command: "node", args: ["./mcp-fred/dist/index.js"], cwd: "/etc/mcpgw" },
    { id: "mcp-stripe", env: { STRIPE_SECRET_KEY: "sk_live_0123456789" } },
  ]);
  expect(config.policies.map(({ id, rules }) => [id, rules.length])).toEqual([
    ["reader-policy", 3],
    ["admin-policy", 1],
  ]);
  expect(config.limits).toMatchObject({ perMinute: 60, burst: 60 });
  expect(config.usage).toEqual({ enabled: true });
  expect(config.audit.path).toBe("/etc/mcpgw/gateway-audit.db");
  expect(secrets).toContain("sk_live_0123456789");
});

test("R17 values with a secret's name or reference are secrets, and nothing else in the file is", () => {
  const { secrets, warnings } = loadText(
    JSON.stringify({
      auth: {
        keys: [
          { id: "a", key: "vK3nW8sL2qX6tB9yD4mR7pZ1cH5fJ0gE", consumerId: "a", roles: ["r"] },
          { id: "b", key: "${REF}", consumerId: "b", roles: ["r"] },
        ],
      },
      servers: [
        {
          id: "a",
          command: "x",
          env: { API_TOKEN: "tok-123456", PIN_SECRET: "short", LOG_LEVEL: "verbose", X: "${REF}", Y: "${NONE}" },
        },
        {
          id: "b",
          url: "https://u:pw-123@b.example/mcp?apiKey=query+1234&place=elsewhere",
          headers: { Authorization: "Bearer 1", "Accept-Language": "en-GB" },
        },
      ],
    }),
    { env: { REF: strong, NONE: "" } },
  );
  // Longer ones come first, since they may contain shorter ones.
  const keys = [strong, "vK3nW8sL2qX6tB9yD4mR7pZ1cH5fJ0gE"];
  // Some servers read a `+` in a query as a space, others as itself.
  const query = ["query 1234", "query+1234"];
  expect(secrets).toEqual([...keys, btoa("u:pw-123"), "tok-123456", ...query, "Bearer 1", "pw-123"]);
  const inPlain = warnings.filter(({ message }) => message.startsWith("a key in plain text"));
  expect(inPlain.map(({ path }) => path)).toEqual(["auth.keys[0].key"]);
});

test("R120 a reference without value and default is an error with its position", () => {
  const [problem] = refusal(firstDocument).problems;
  expect(problem).toMatchObject({ line: 23, column: 26, path: "servers[1].env.STRIPE_SECRET_KEY" });
  expect(problem?.message).toContain("STRIPE_SECRET_KEY is not set");
});

test("R49 JSON is read like YAML", () => {
  const json = JSON.stringify({ servers: [{ id: "a", command: "x", env: { A: '\u{1f600}\t"' } }] }, null, "\t");
  const { config } = loadText(json);
  expect(config.servers).toMatchObject([{ id: "a", env: { A: '\u{1f600}\t"' } }]);
  expect(refusal('{"state": "a", "state": "b"}').problems[0]?.message).toContain("already set");
});

test("R85 FIELD T7 without policies nothing is allowed, and no other default applies", () => {
  const { config } = loadText("{}");
  expect(config).toMatchObject({ policies: [], rules: [], auth: { type: "api-key", keys: [] } });
  expect(config.limits.perMinute).toBeUndefined();
  expect(config.listen.http).toEqual({ host: "127.0.0.1", port: 7332 });
});

test("R120 options that a file omits have the documented defaults", () => {
  const text =
    "servers: [{ id: a, command: node }, { id: b, url: https://b.example/mcp }, { id: c, builtin: calculator }]";
  const common = { enabled: true, timeout: 30_000, protocol: "auto", prefix: "always", tags: [], maxInstances: 16 };
  const each = { ...common, idleStop: 600_000, start: "boot", healthCheck: 30_000, refresh: 300_000 };
  const { config } = loadText(text);
  expect(config).toMatchObject({
    listen: { behindTlsProxy: false, allowedHosts: [], allowedOrigins: [], maxConnections: 4096 },
    control: { adminGroup: "mcpgw-admin", readGroup: "mcpgw-audit" },
    log: { level: "info", format: "json" },
    gateway: { tools: true, name: "mcpgw" },
    names: { max: 50 },
    servers: [
      { ...each, args: [], env: {} },
      { ...each, transport: "http", getStream: "on", headers: {} },
      { ...each, builtin: "calculator" },
    ],
    limits: {
      inFlight: { perPrincipal: 256, total: 4096 },
      perTool: [],
      body: 4 * 1024 ** 2,
      result: 16 * 1024 ** 2,
      depth: 64,
      nodes: 100_000,
      page: 1000,
      batch: 100,
    },
    audit: {
      storage: "sqlite",
      durability: "strict",
      payloads: "redacted",
      redact: [],
      checkpoints: [],
      checkpointEvery: { interval: 10_000, records: 1000 },
      onFailure: "deny",
    },
    usage: { enabled: true },
  });
  // The isolation depends on the revision that the server reports.
  expect(config.servers.map(({ isolation }) => isolation)).toEqual([undefined, undefined, undefined]);
});

test.each([
  ["on", true],
  ["off", false],
  ["true", true],
  ["false", false],
])("gateway.tools: %s", (text, on) => {
  expect(loadText(`gateway: { tools: ${text} }`).config.gateway.tools).toBe(on);
});

test.each([
  ["127.0.0.1:0", { host: "127.0.0.1", port: 0 }],
  ["'[::1]:7332'", { host: "::1", port: 7332 }],
  ["localhost:65535", { host: "localhost", port: 65535 }],
  ["127.0.0.1:65536", null],
  ["::1:7332", null],
  [":7332", null],
  ["http://127.0.0.1:1", null],
])("listen.http: %s", (text, address) => {
  const load = () => loadText(`listen:\n  http: ${text}\n`).config.listen.http;
  if (address) expect(load()).toEqual(address);
  else expect(load).toThrow("is not an address");
});

test("R17 R120 a reference is converted to the type of its key, and its text never becomes YAML structure", () => {
  const text = `
limits: { perMinute: "\${RATE}", burst: "\${BURST}" }
usage:
  enabled: \${ON}
servers:
  - { id: a, command: run, env: { PIN: "\${PIN}", X: "\${INJECT}" } }
`;
  const { config } = loadText(text, {
    env: { RATE: "30", BURST: "5", ON: "false", PIN: "0042", INJECT: "x\n    - {id: evil, command: sh}" },
  });
  expect(config.limits).toMatchObject({ perMinute: 30, burst: 5 });
  expect(config.usage.enabled).toBe(false);
  expect(config.servers).toMatchObject([{ env: { PIN: "0042", X: "x\n    - {id: evil, command: sh}" } }]);
  expect(config.servers).toHaveLength(1);
});

test("R17 no message repeats a secret", () => {
  const token = "http//user:s3cr3t-tok3n";
  const error = refusal('servers: [{ id: a, url: "${URL}" }]', { env: { URL: token } });
  expect(error.message).toContain("servers[0].url");
  expect(error.message).not.toContain("s3cr3t");
});

test("conditions keep ${principal.…} for the policy", () => {
  const text =
    'policies: [{ id: p, roles: [r], rules: [{ action: allow, when: { args.a: { eq: "${principal.consumerId}" } } }] }]';
  expect(loadText(text).config.policies[0]?.rules[0]?.when).toEqual({ "args.a": { eq: "${principal.consumerId}" } });
});

test("R17: no program is started with a NUL, since the system's error would quote the secret next to it", () => {
  const refused = refusal(
    `servers: [{ id: a, command: "a\\0", args: [b, "c\\0"], cwd: "/d\\0", env: { T: "hush\\0", "E\\0": f } }]`,
  );
  const places = ["command", "args[1]", "cwd", "env.T", `env["E\\u0000"]`];
  expect(refused.problems.map(({ path }) => path).toSorted()).toEqual(
    places.map((at) => `servers[0].${at}`).toSorted(),
  );
  expect(refused.message).not.toContain("hush");
});

test("aliases are expanded, and problems in them are reported where they were written", () => {
  const text = "servers:\n  - &base { id: a, command: x, args: [1] }\n  - *base\n";
  expect(refusal(text).problems.map(({ path, line, column }) => [path, line, column])).toEqual([
    ["servers[0].args[0]", 2, 39],
    ["servers[1].args[0]", 2, 39],
  ]);
});

test("R28 R118 R120 flags and environment take precedence over the file and are checked like it", () => {
  const overrides = findOverrides({ env: { MCPGW_LOG_LEVEL: "debug" }, cwd: "/" }, { listen: "127.0.0.1:0" });
  const { config, origin } = loadText("log: { level: warn, format: text }", { overrides });
  expect(config.log).toEqual({ level: "debug", format: "text" });
  expect(config.listen.http.port).toBe(0);
  expect(origin(["log", "level"])).toEqual({ from: "override", name: "MCPGW_LOG_LEVEL" });
  expect(origin(["log", "format"])).toEqual({ from: "file" });
  const open = refusal("{}", { overrides: findOverrides({ env: {}, cwd: "/" }, { listen: "0.0.0.0:80" }) });
  expect(open.message).toStartWith("--listen: listen.http: keys must not be sent unencrypted off loopback");
});

test("relative paths start at the file's directory", () => {
  const { config } = loadText(
    "state: s\ncontrol: { socket: run/c.sock }\nlisten: { tls: { cert: c.pem, key: /k.pem } }\n" +
      "audit: { checkpoints: [{ file: ../e }] }\nservers: [{ id: a, command: x, cwd: sub }]\n",
    { file: "/srv/gw/gateway.yaml" },
  );
  expect(config).toMatchObject({
    state: "/srv/gw/s",
    control: { socket: "/srv/gw/run/c.sock" },
    listen: { tls: { cert: "/srv/gw/c.pem", key: "/k.pem" } },
    audit: { path: null, checkpoints: [{ file: "/srv/e" }] },
    servers: [{ cwd: "/srv/gw/sub" }],
  });
});

test("hostile input is refused: deep nesting, huge aliases, invalid UTF-8, a missing file", () => {
  expect(refusal("[".repeat(100_000)).message).toContain("nested too deeply");
  expect(refusal("a: ".repeat(5_000)).problems.length).toBeLessThan(6);
  const bomb = Array.from({ length: 30 }, (_, n) => `k${n}: &a${n} [${n ? `*a${n - 1},`.repeat(9) : "x"}]`).join("\n");
  expect(refusal(bomb).message).toContain("aliases");
});

test("a file that cannot be read is reported with the reason", () => {
  using at = new TempDir();
  const options = { resolve: (value: string) => ({ value, secrets: [] }), inert: () => null, examinePolicy: examine };
  const message = (name: string): string => {
    try {
      loadConfig(at.path(name), options);
      return "";
    } catch (error) {
      return error instanceof ConfigError ? error.message : String(error);
    }
  };
  writeFileSync(at.path("latin1.yaml"), Buffer.from([0x73, 0x3a, 0x20, 0xe4]));
  writeFileSync(at.path("big.yaml"), `# ${"x".repeat(4 * 1024 ** 2)}`);
  writeFileSync(at.path("good.yaml"), "\ufeffstate: s\n");
  Bun.spawnSync(["mkfifo", at.path("pipe.yaml")]);
  expect(message("absent.yaml")).toContain("`mcpgw init` writes one");
  expect(message(".")).toContain("not a regular file");
  expect(message("pipe.yaml")).toContain("not a regular file");
  expect(message("latin1.yaml")).toContain("not UTF-8");
  expect(message("big.yaml")).toContain("larger than 4 MiB");
  expect(loadConfig(at.path("good.yaml"), options)).toMatchObject({
    config: { state: at.path("s") },
    digest: new Bun.CryptoHasher("sha256").update("\ufeffstate: s\n").digest("hex"),
  });
});

test("R86 an HTTP server has a URL, a timeout and a switch", () => {
  const { config, warnings } = loadText(
    "servers: [{ id: a, url: 'https://a.example/mcp', transport: http, timeout: 60, enabled: false }]",
  );
  expect(config.servers).toMatchObject([
    { url: "https://a.example/mcp", transport: "http", timeout: 60_000, enabled: false },
  ]);
  expect(warnings.map(({ message }) => message)).toEqual([expect.stringContaining("no server is enabled")]);
});

test.each([
  ["http://crm.example/mcp", true],
  ["http://127.0.0.1.example/mcp", true],
  ["http://10.0.0.1/mcp", true],
  ["https://crm.example/mcp", false],
  ["http://localhost:1/mcp", false],
  ["http://127.0.0.1:1/mcp", false],
  ["http://[::1]:1/mcp", false],
  ["http://[::ffff:127.0.0.1]:1/mcp", false],
  ["http://[::ffff:10.0.0.1]:1/mcp", true],
])("R95 %s is warned about: %p", (url, warned) => {
  const { warnings } = loadText(JSON.stringify({ servers: [{ id: "a", url }] }));
  expect(warnings.map(({ path }) => path)).toEqual(warned ? ["servers[0].url"] : []);
});

test("R17 T60: a secret reference in a command line is refused, and a variable or plain secret causes one warning", () => {
  const load = (server: string) =>
    loadText(`servers:\n  - { id: a, ${server} }\n`, { env: { HOME: "/home/a", T: "t" } });
  const warned = (server: string): string[] => load(server).warnings.map(({ path }) => path);
  expect(warned('command: "${HOME}/x"')).toEqual(["servers[0].command"]);
  expect(warned('command: x, args: [a, "--in=${HOME}", "${T}"]')).toEqual(["servers[0].args[1]"]);
  const token = "ghp_0123456789abcdefghijABCDEFGHIJ";
  expect(warned(`command: x, args: [--key, ${token}, "sql://u:hunter2@h/db"]`)).toEqual(["servers[0].args[1]"]);
  expect(warned('command: x, args: ["sql://u@h/db", "--token=${T}", sk-short]')).toEqual(["servers[0].args[1]"]);
  expect(warned('command: x, args: ["$${HOME}", "$${file:/x}"], env: { T: "${T}" }')).toEqual([]);
  const file = join(import.meta.dir, "../fixtures/config/first-document.yaml");
  expect(() => load(`command: x, args: [a, "--token=\${file:${file}}"]`)).toThrow(
    "servers[0].args[1]: a secret here is visible in the process list",
  );
});

test("missing files and secrets in command lines are reported together with other errors", () => {
  using at = new TempDir();
  const file = at.path("gateway.yaml");
  writeFileSync(at.path("token"), "s3cret-token");
  writeFileSync(
    file,
    `listen: { tls: { cert: no.pem, key: no.key } }
audit: { path: none/audit.db }
servers:
  - { id: bad, command: x, args: ["\${file:token}"], timeout: soon }
  - { id: a, command: x, args: ["--token=\${file:token}"] }
`,
  );
  expect(() => loadConfig(file, loadingFrom(at.dir, {}))).toThrow(
    expect.objectContaining({
      problems: [
        expect.objectContaining({ path: "listen.tls.cert", line: 1 }),
        expect.objectContaining({ path: "listen.tls.key", line: 1 }),
        expect.objectContaining({ path: "audit.path", line: 2 }),
        expect.objectContaining({ path: "servers[0].timeout", line: 4 }),
        expect.objectContaining({ path: "servers[1].args[0]", line: 5 }),
      ],
    }),
  );
});

test("R17: if programs can read each other's environment, one warning names the first that has any", () => {
  const warned = (...servers: string[]): string[] =>
    loadText(`servers:\n${servers.map((one) => `  - ${one}\n`).join("")}`).warnings.map(({ path }) => path);
  const [secret, plain] = ["{ id: a, command: x, env: { T: t } }", "{ id: b, command: y }"];
  expect(warned(plain, secret)).toEqual(["servers[1].env"]);
  expect(warned(secret)).toEqual([]);
  expect(warned(secret, "{ id: c, command: z, enabled: false }", "{ id: d, builtin: calculator }")).toEqual([]);
  expect(warned(plain, "{ id: e, command: z }")).toEqual([]);
});

test.each(["*", "null", "https://*.example"])("R119 %s is not an origin: each must be listed separately", (origin) => {
  expect(() => loadText(`listen: { allowedOrigins: ["${origin}"] }`)).toThrow("allowedOrigins[0]: is not an origin");
});

test.each([
  ["wss://a.example/mcp", "websocket", true],
  ["wss://a.example/mcp", "http", false],
  ["https://a.example/mcp", "websocket", false],
])("%s with transport: %s fits: %p", (url, transport, fits) => {
  const load = () => loadText(JSON.stringify({ servers: [{ id: "a", url, transport }] }));
  if (fits) expect(load().warnings).toEqual([]);
  else expect(load).toThrow("ws:// and wss:// URLs require transport: websocket, and it requires such a URL");
});

test("R120: the parts about the gateway's own files and keys are read even if others have errors or missing secrets", () => {
  using at = new TempDir();
  const file = at.path("gateway.yaml");
  const { resolve } = loadingFrom(at.dir, { STATE: "s" });
  const read = (text: string) => {
    writeFileSync(file, text);
    return loadOwnParts(file, resolve);
  };
  const key = newKey().key;
  const keys = `auth: { keys: [{ id: k, key: ${key}, consumerId: c, roles: [r] }] }`;
  const own = read(
    `state: "\${STATE}"\n${keys}\nmetering: { enabled: false }\nservers: [{ id: 7, env: "\${NONE}" }]\n`,
  );
  expect(own).toMatchObject({ state: at.path("s"), usage: { enabled: false }, auth: { keys: [{ id: "k", key }] } });
  expect(() => read('state: "${NONE}"')).toThrow("NONE is not set");
  expect(() => read("audit: { durability: 7 }")).toThrow("audit.durability");
  expect(() => read(keys.replace("] }", "], cidrs: [10.0.0.0/33] }"))).toThrow("auth.keys[0].cidrs[0]: not a network");
  for (const text of ["[]", "7"]) expect(() => read(text)).toThrow(ConfigError);
});

test("R26 the tags of servers are read even if other parts have errors or missing secrets", () => {
  using at = new TempDir();
  const file = at.path("gateway.yaml");
  const { resolve } = loadingFrom(at.dir, { TEAM: "sales" });
  const read = (text: string) => {
    writeFileSync(file, text);
    return loadTags(file, resolve).map(({ id, tags }) => [id, tags]);
  };
  const crm = 'id: crm, url: "https://${NONE}/mcp", headers: { a: "${NONE}" }';
  expect(read(`audit: 7\nservers: [{ ${crm}, tags: ["\${TEAM}", eu] }, { id: sums, builtin: "\${NONE}" }]\n`)).toEqual([
    ["crm", ["sales", "eu"]],
    ["sums", []],
  ]);
  expect(read("audit: {}")).toEqual([]);
  expect(() => read('servers: [{ id: a, tags: ["${NONE}"] }]')).toThrow("gateway.yaml:1:27: servers[0].tags[0]: ");
  expect(() => read("servers: [{ id: a, tags: x }]")).toThrow("gateway.yaml:1:26: servers[0].tags: expected a list");
  for (const text of ["[]", "servers: [7]", "servers: 7"]) expect(() => read(text)).toThrow(ConfigError);
});
