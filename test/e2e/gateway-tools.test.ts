import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mcpTools } from "../../src/control/mcp-tools.ts";
import { type Daemon, everything, fake, start } from "../support/daemon.ts";
import { type Answer, reply, serve } from "../support/mcp-server.ts";
import { until } from "../support/until.ts";
import { answerOf, modern, pick, request, textOf, toolCall, v2025 } from "../support/wire.ts";

// The gateway's own tools over MCP, and what they list and call for each caller.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const own = mcpTools()
  .map(({ name }) => name)
  .toSorted();
const config = {
  audit: { redact: ["args.pin", "result.content.*.text.args.pin"] },
  servers: [fake("fake"), fake("other")],
  toolsets: [
    { id: "small", include: ["mcpgw:*", "fake:echo"] },
    { id: "renamed", include: ["mcpgw:*", "fake:echo"], rename: { "fake:echo": "say" } },
    { id: "again", include: ["mcpgw:*", "fake:echo"], rename: { "mcpgw:call": "again" } },
  ],
  policies: [
    everything(),
    {
      id: "helper",
      roles: ["helper"],
      rules: [
        { server: "mcpgw", tool: "audit_all", action: "deny" },
        { server: "mcpgw", action: "allow" },
        { server: "fake", tool: "echo", action: "allow" },
        { tool: "fake:c*", action: "allow" },
        { tool: "fake:log", when: { "source.ip": { exists: false } }, action: "allow" },
      ],
    },
    { id: "auditor", roles: ["auditor"], rules: [{ tool: "mcpgw:*", action: "allow" }] },
  ],
};

let daemon: Daemon;
let user: string;
let helper: string;
let auditor: string;

beforeAll(async () => {
  daemon = await start(config);
  user = await daemon.place.key("user");
  helper = await daemon.place.key("helper", "helper");
  auditor = await daemon.place.key("auditor", "auditor");
  await daemon.call("other__echo", { secret: "of the user" }, user);
  await daemon.call("fake__echo", { n: 1 }, helper);
});
afterAll(() => daemon[Symbol.asyncDispose]());

async function listed(key: string, from: Daemon = daemon): Promise<string[]> {
  const answer = await from.post(request("tools/list"), { key });
  return (pick(answer.json, "result.tools") as { name: string }[]).map(({ name }) => name);
}

/** Calls one of the gateway's own tools. */
async function ask(name: string, args: unknown, key: string): Promise<unknown> {
  return (await daemon.call(`mcpgw__${name}`, args, key)).json;
}
const structured = async (name: string, args: unknown, key: string): Promise<unknown> =>
  pick(await ask(name, args, key), "result.structuredContent");

test("R27: the eight tools are listed only if a rule names their server; a wildcard does not", async () => {
  const mine = async (key: string): Promise<string[]> =>
    (await listed(key)).filter((name) => name.startsWith("mcpgw__")).map((name) => name.slice("mcpgw__".length));
  expect(await mine(user)).toEqual([]);
  expect((await mine(helper)).toSorted()).toEqual(own);
  expect((await mine(auditor)).toSorted()).toEqual(own);
  expect(pick(await ask("audit_log", {}, user), "error.code")).toBe(-32602);
});

test("R27: each of the tools answers, with matching text and structured content", async () => {
  for (const name of own.filter((one) => one !== "call")) {
    const answer = await ask(name, name === "server_status" ? { id: "fake" } : {}, helper);
    expect([name, pick(answer, "result.isError") ?? false]).toEqual([name, false]);
    expect(JSON.parse(textOf(answer))).toEqual(pick(answer, "result.structuredContent"));
  }
  // Servers without rights are not shown, and processes are never shown.
  const servers = pick(await structured("list_servers", {}, helper), "servers");
  expect(servers).toMatchObject([{ id: "fake", state: "ready", pids: [] }]);
  expect(pick(await structured("list_servers", {}, auditor), "servers")).toHaveLength(2);
  expect(await structured("server_status", { id: "fake" }, helper)).toMatchObject({ server: { id: "fake" } });
  expect(await structured("audit_verify", {}, helper)).toMatchObject({
    exit: expect.any(Number),
    chains: [{ chain: "main" }],
  });
});

test("R27: records, counts and usage are limited to the caller's own consumer, unless a rule allows mcpgw:audit_all", async () => {
  const consumersIn = async (key: string, asked = {}): Promise<string[]> => {
    const found = await structured("audit_log", { type: "call.end", ...asked }, key);
    const { records } = found as { records: { consumer: string }[] };
    return [...new Set(records.map(({ consumer }) => consumer))];
  };
  const helper = await daemon.place.key("asker", "helper");
  for (const key of [user, helper]) await daemon.call("fake__echo", {}, key);
  await until(async () => (await consumersIn(helper)).length > 0, "the call is indexed");
  expect(await consumersIn(helper)).toEqual(["asker"]);
  expect((await consumersIn(auditor)).toSorted()).toEqual(expect.arrayContaining(["asker", "user"]));
  for (const tool of ["audit_log", "usage"]) {
    const refused = await ask(tool, { consumer: "user" }, helper);
    expect(pick(refused, "result.isError")).toBe(true);
    expect(textOf(refused)).toContain("only see the records of consumer asker");
  }
  expect(await consumersIn(helper, { consumer: "asker" })).toEqual(["asker"]);
  expect(await structured("audit_log", { server: "other" }, helper)).toEqual({ records: [], more: false });
  const names = async (tool: string, path: string, key: string): Promise<string[]> =>
    (pick(await structured(tool, {}, key), path) as { name: string }[]).map(({ name }) => name).toSorted();
  await until(async () => (await names("usage", "rows", helper)).length > 0, "the call is metered");
  expect(await names("audit_stats", "consumers", helper)).toEqual(["asker"]);
  expect(await names("audit_stats", "consumers", auditor)).toEqual(expect.arrayContaining(["asker", "user"]));
  expect(await names("usage", "rows", helper)).toEqual(["asker"]);
});

test("R27: a filter that no record can match is refused instead of returning no records", async () => {
  for (const filter of [{ status: "failed" }, { type: "call" }]) {
    const refused = await ask("audit_log", filter, auditor);
    expect(pick(refused, "result.isError")).toBe(true);
    expect(textOf(refused)).toMatch(/"failed" is not one of .*error|"call" is not a record type; types are call\*/);
  }
  expect(pick(await structured("audit_log", { type: "call*", status: "success" }, auditor), "records")).not.toEqual([]);
});

test("R27: list_tools and server_status show a caller no more than tools/list does", async () => {
  const { tools } = (await structured("list_tools", {}, helper)) as { tools: { wire: string }[] };
  expect(tools.map(({ wire }) => wire).toSorted()).toEqual((await listed(helper)).toSorted());
  const words = async (id: string): Promise<string> => {
    const answer = await ask("server_status", { id }, helper);
    expect(pick(answer, "result.isError")).toBe(true);
    return textOf(answer).replace(id, "ID");
  };
  expect(await words("other")).toBe(await words("nothing"));
});

test("R27: call re-enters the path: the inner call is decided, limited and recorded separately, and cannot nest", async () => {
  const helper = await daemon.place.key("caller", "helper");
  const called = await ask("call", { tool: "fake:echo", arguments: { n: 7 } }, helper);
  expect(JSON.parse(textOf(called))).toMatchObject({ args: { n: 7 } });
  const precise = await ask("call", { tool: "fake:echo", arguments: '{"n":12345678901234567890}' }, helper);
  expect(pick(precise, "result.isError")).toBeUndefined();
  const digits = '{"n":12345678901234567890,"m":1.10}';
  const raw = `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"mcpgw__call","arguments":{"tool":"fake:echo","arguments":${digits}}}}`;
  await daemon.post(raw, { key: helper });
  const shown = await daemon.place.cli([
    "audit",
    "log",
    "--consumer",
    "caller",
    "--tool",
    "echo",
    "--type",
    "call.begin",
    "--limit",
    "1",
    "--json",
  ]);
  const { seq } = (JSON.parse(shown.stdout) as { records: { seq: number }[] }).records[0] ?? { seq: 0 };
  const full = await daemon.place.cli(["audit", "show", String(seq), "--payloads", "--json"]);
  expect(pick(JSON.parse(full.stdout), "payloads.0.body")).toBe(digits);
  const before = daemon.place.calls("other").length;
  for (const tool of ["other:echo", "fake:env", "fake:nothing"]) {
    expect(await ask("call", { tool, arguments: {} }, helper)).toMatchObject({ result: { isError: true } });
  }
  expect(daemon.place.calls("other")).toHaveLength(before);
  for (const tool of ["mcpgw:call", "mcpgw__call", "mcpgw:usage"]) {
    const nested = await ask("call", { tool, arguments: { tool: "fake:echo" } }, helper);
    expect(nested).toMatchObject({ result: { isError: true } });
    expect(textOf(nested)).toContain("own tools");
  }
  const records = (await daemon.place.records()).filter(({ consumer }) => consumer === "caller");
  const ends = records.filter(({ type }) => type === "call.end").map(({ srv, tool }) => `${srv}:${tool}`);
  expect(ends).toContain("mcpgw:call");
  expect(ends.filter((name) => name === "fake:echo")).toHaveLength(3);
  expect(records.filter(({ type, st }) => type === "call.refused" && st === "denied").length).toBeGreaterThanOrEqual(3);
});

/** Starts a server of 2026-07-28: one tool answers with an array, the other asks its client. */
const modernServer: Answer = ({ id, method, params }) => {
  const cached = { resultType: "complete", ttlMs: 0, cacheScope: "private" };
  const tools = ["numbers", "form"].map((name) => ({ name, inputSchema: { type: "object" } }));
  const ask = { method: "elicitation/create", params: { message: "?", requestedSchema: { type: "object" } } };
  if (method === "server/discover") {
    return reply(id, { ...cached, supportedVersions: ["2026-07-28"], capabilities: { tools: {} } });
  }
  if (method === "tools/list") return reply(id, { ...cached, tools });
  if (params?.["name"] === "form") return reply(id, { resultType: "input_required", inputRequests: { q: ask } });
  return reply(id, { resultType: "complete", content: [], structuredContent: [1, 2] });
};

test("R27: the answer of call is in the form of the client's era, and it reports what it cannot do", async () => {
  using server = serve(modernServer);
  const admits = [{ server: "mcpgw", action: "allow" }, { action: "allow" }];
  await using apart = await start({
    servers: [{ id: "new", url: server.url, protocol: "modern" }],
    policies: [{ id: "all", roles: ["user"], rules: admits }],
  });
  const key = await apart.place.key("user");
  const through = async (tool: string) => {
    const args = { tool, arguments: {} };
    const { body, headers } = modern("tools/call", { name: "mcpgw__call", arguments: args });
    const [old, recent] = await Promise.all([
      apart.call("mcpgw__call", args, key),
      apart.post(body, { key, headers: { ...headers } }),
    ]);
    return { old: pick(old.json, "result"), recent: pick(recent.json, "result") };
  };
  const direct = pick((await apart.call("new__numbers", {}, key)).json, "result");
  const { old, recent } = await through("new:numbers");
  expect(old).toEqual(direct);
  expect(pick(old, "resultType") ?? pick(old, "structuredContent")).toBeUndefined();
  expect(recent).toMatchObject({ resultType: "complete", structuredContent: [1, 2] });
  const asked = await through("new:form");
  for (const result of [asked.old, asked.recent]) {
    expect([pick(result, "isError"), pick(result, "content.0.text")]).toEqual([
      true,
      'The server "new" asks for elicitation/create, but the client did not declare elicitation. The call may have run: check before you repeat it.',
    ]);
  }
});

test("R27: progress requested with call is the progress of the inner call", async () => {
  const admits = [{ server: "mcpgw", action: "allow" }, { action: "allow" }];
  await using apart = await start({
    servers: [fake("fake")],
    policies: [{ id: "all", roles: ["user"], rules: admits }],
  });
  const key = await apart.place.key("user");
  for (const tool of ["fake:progress", "fake:log"]) {
    const args = { tool, arguments: { levels: ["error"] } };
    const params = { name: "mcpgw__call", arguments: args, _meta: { progressToken: "mine" } };
    const { events } = await apart.post(request("tools/call", params), { key, headers: v2025 });
    const told = events.slice(0, -1).map((event) => pick(event, "params"));
    const progress = [1, 2, 3].map((n) => ({ progressToken: "mine", progress: n, total: 3 }));
    // Log messages were not requested.
    expect(told).toEqual(tool === "fake:progress" ? progress : []);
  }
});

test("R6: at a toolset's endpoint call and list_tools reach no further than the toolset", async () => {
  const at = async (name: string, args: unknown, toolset = "small"): Promise<unknown> => {
    const headers = { "content-type": "application/json", authorization: `Bearer ${helper}`, ...v2025 };
    const body = JSON.stringify(toolCall(`mcpgw__${name}`, args));
    return (await answerOf(await fetch(`${daemon.url}/mcp/${toolset}`, { method: "POST", headers, body }))).json;
  };
  expect(JSON.parse(textOf(await at("call", { tool: "fake:echo", arguments: { n: 7 } })))).toMatchObject({
    args: { n: 7 },
  });
  const beyond = await at("call", { tool: "fake:count", arguments: {} });
  expect(beyond).toMatchObject({ result: { isError: true } });
  expect(textOf(beyond)).toContain("Unknown tool: fake:count");
  for (const [toolset, wire] of [
    ["small", "fake__echo"],
    ["renamed", "say"],
  ] as const) {
    const answer = await at("list_tools", { server: "fake" }, toolset);
    expect(pick(answer, "result.structuredContent.tools")).toMatchObject([{ name: "fake:echo", wire }]);
    const called = await at("call", { tool: "fake:echo", arguments: { n: 8 } }, toolset);
    expect(JSON.parse(textOf(called))).toMatchObject({ args: { n: 8 } });
  }
});

test("R27: call cannot nest, under any name that a toolset gives it", async () => {
  const headers = { "content-type": "application/json", authorization: `Bearer ${helper}`, ...v2025 };
  const inner = { tool: "fake:echo", arguments: {} };
  for (const tool of ["again", "mcpgw:call"]) {
    const body = JSON.stringify(toolCall("again", { tool, arguments: inner }));
    const sent = await fetch(`${daemon.url}/mcp/again`, { method: "POST", headers, body });
    const answer = (await answerOf(sent)).json;
    expect([pick(answer, "result.isError"), textOf(answer)]).toEqual([true, expect.stringContaining("own tools")]);
  }
});

test("R27: audit.redact also masks the arguments of a call inside a call", async () => {
  await ask("call", { tool: "fake:echo", arguments: { pin: "sensitive-1" } }, helper);
  await ask("call", { tool: "fake:echo", arguments: '{"pin":"sensitive-2","n":1}' }, helper);
  const { stdout: text } = await daemon.place.cli(["audit", "export", "--payloads"]);
  expect([text.includes("sensitive"), text.includes("[redacted]")]).toEqual([false, true]);
});

test("R27: wrong arguments and an unknown record number are refused with a message", async () => {
  const refused = [
    await ask("audit_log", { limit: 0 }, helper),
    await ask("audit_log", { since: "yesterday-ish" }, helper),
    await ask("usage", { by: "colour" }, helper),
    await ask("call", { tool: "" }, helper),
    await ask("audit_log", { payloads: true }, helper),
  ];
  for (const answer of refused) {
    expect(answer).toMatchObject({ result: { isError: true } });
    expect(textOf(answer).length).toBeGreaterThan(10);
  }
});

test("R27: gateway: {tools: off} hides the tools from everyone", async () => {
  await using off = await start({ ...config, gateway: { tools: "off" } });
  const key = await off.place.key("helper", "helper");
  expect((await listed(key, off)).filter((name) => name.startsWith("mcpgw"))).toEqual([]);
  expect(pick((await off.call("mcpgw__usage", {}, key)).json, "error.code")).toBe(-32602);
});

test("R2, R5, R7, R108, S33: for each role, listed tools can be called and others are unknown", async () => {
  const all = new Set([...(await listed(user)), ...(await listed(helper))]);
  const stranger = await daemon.place.key("stranger", "nobody");
  const ends = new Set(["crash", "hang", "twice", "both", "null-id", "wrong-id", "deep", "call"]);
  for (const key of [user, helper, auditor, stranger]) {
    const shown = new Set(await listed(key));
    for (const name of all) {
      if (ends.has(name.split("__")[1] ?? "")) continue;
      const answer = await daemon.call(name, {}, key);
      const unknown = String(pick(answer.json, "error.message")).startsWith("Unknown tool");
      expect([name, unknown]).toEqual([name, !shown.has(name)]);
    }
  }
  expect(await listed(stranger)).toEqual([]);
  expect((await listed(helper)).filter((name) => !name.startsWith("mcpgw")).toSorted()).toEqual([
    "fake__count",
    "fake__crash",
    "fake__echo",
  ]);
});

test("R88: the command line lists and calls with the given key, else as the local administrator", async () => {
  const { place } = daemon;
  const as = (key: string, ...args: string[]) => place.cli(args, { env: { MCPGW_API_KEY: key } });
  const tools = await as(helper, "tools", "list", "--server", "fake", "--json");
  expect((JSON.parse(tools.stdout) as { tools: { name: string }[] }).tools.map(({ name }) => name)).toEqual([
    "fake:count",
    "fake:crash",
    "fake:echo",
    // Its rule applies only to callers without a network address.
    "fake:log",
  ]);
  // Only a caller that may see all servers is told that a server does not exist.
  expect(await as(helper, "tools", "list", "--server", "ghost")).toMatchObject({ code: 0, stdout: "" });
  expect(await place.cli(["tools", "list", "--server", "ghost"])).toMatchObject({
    code: 1,
    stderr: "mcpgw: there is no server ghost; `mcpgw servers list` shows all\n",
  });
  const called = await as(helper, "tools", "call", "fake:echo", "n=12345678901234567890", "s=text");
  expect(called).toMatchObject({ code: 0, stderr: "" });
  expect(called.stdout).toContain('"s":"text"');
  const denied = await as(helper, "tools", "call", "other:echo");
  expect(denied).toMatchObject({ code: 1, stdout: "" });
  const local = await place.cli(["tools", "call", "fake:echo"]);
  expect(local.code).toBe(1);
  const records = await place.records();
  expect(records.find(({ subj }) => subj === `local:${process.getuid?.()}`)).toMatchObject({
    type: "call.refused",
    st: "denied",
    src: "control",
  });
});

test("R20: a caller's failed instance is reported on every surface, and identified to operators and to the caller", async () => {
  const server = fake("fake", [], { isolation: "per-principal" });
  await using apart = await start({ ...config, servers: [server] });
  const { place } = apart;
  const bad = await place.newKey("bad");
  const other = await place.key("helper", "helper");
  await apart.call("fake__crash", {}, bad.key);
  const line = await apart.logged(({ msg }) => msg === "an instance of a server ended");
  expect(line).toMatchObject({ level: "warn", server: "fake", principal: `key:${bad.id}` });
  const down = { state: "ready", reason: expect.stringContaining("one caller's instance is down until") };
  const whose = { ...down, restarts: 1, down: [expect.objectContaining({ owner: `key:${bad.id}` })] };
  expect(await place.json("servers", "list")).toMatchObject({ servers: [whose] });
  expect((await place.cli(["servers", "show", "fake"])).stdout).toContain(`key:${bad.id}`);
  expect((await apart.get("/ready")).json).toMatchObject({ servers: [down] });
  expect((await apart.get("/metrics")).text).toContain('mcpgw_server_restarts{server="fake"} 1');
  const seen = await apart.call("mcpgw__server_status", { id: "fake" }, other);
  expect(pick(seen.json, "result.structuredContent.server")).toMatchObject({ ...down, restarts: 1, down: [] });
});
