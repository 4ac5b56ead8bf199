import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { environOf, isRoot, canBecomeNobody, pidsWith } from "../support/processes.ts";
import { everything, fake, Place, servesParent, start, strongKey } from "../support/daemon.ts";
import { isCall, refusal, reply, serve, text } from "../support/mcp-server.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { until } from "../support/until.ts";
import { request, resultOf, v2025 } from "../support/wire.ts";

// Secrets go only to the child or upstream that they are for, and appear nowhere else.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const canary = (name: string): string => `canary-${name}-${strongKey().slice(0, 32)}`;
const passed = ["FAKE_LOG", "HOME", "LANG", "MCPGW_INSTANCE", "MCPGW_RUN", "PATH", "TMPDIR", "TZ"];

/** Two servers; the first has a secret. */
const config = {
  servers: [fake("a", [], { env: { TOKEN: "${TOKEN}" } }), fake("b")],
  policies: [everything()],
};

type Env = Record<string, string>;
const envOf = (json: unknown): Env => resultOf(json) as Env;

test("R17, FIELD T16: a child's environment has its own secret, but none of the gateway's or of another child's", async () => {
  const token = canary("token");
  const gateway = { TOKEN: token, MCPGW_API_KEY: canary("api-key"), AWS_SECRET_ACCESS_KEY: canary("aws") };
  await using daemon = await start(config, { env: gateway });
  const key = await daemon.place.key("alice");
  const a = envOf((await daemon.call("a__env", {}, key)).json);
  const b = envOf((await daemon.call("b__env", {}, key)).json);
  expect(Object.keys(a).filter((name) => !passed.includes(name))).toEqual(["TOKEN"]);
  expect(a["TOKEN"]).toBe(token);
  expect(Object.keys(b).filter((name) => !passed.includes(name))).toEqual([]);
  // The kernel's view of the processes agrees, including argv.
  const pids = pidsWith(daemon.place.run());
  expect(pids.length).toBeGreaterThanOrEqual(2);
  for (const pid of pids) {
    const environ = environOf(pid);
    expect(environ).not.toContain("MCPGW_API_KEY");
    expect(environ).not.toContain("AWS_SECRET");
    expect(environ.includes(token)).toBe(environ.includes("FAKE_LOG=a.log"));
    expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).not.toContain(token);
  }
});

test("R17 R124: under any umask only the owner may open files of the state, heads or exports, and only the group the socket", async () => {
  using place = new Place(config);
  place.prefix = ["sh", "-c", 'umask 0; exec "$@"', "sh"];
  const open: string[] = [];
  const look = (directory: string): void => {
    for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
      const path = join(entry.parentPath, entry.name);
      const allowed = entry.isDirectory() ? 0o700 : entry.isSocket() ? 0o660 : 0o600;
      const mode = statSync(path).mode & 0o7777;
      if (mode !== allowed) open.push(`${path}: ${mode.toString(8)}`);
    }
  };
  const env = { TOKEN: canary("token") };
  {
    await using daemon = await place.start({ env });
    await daemon.call("b__echo", {}, await place.key("alice"));
    look(place.state);
    expect(readdirSync(place.state)).toEqual(expect.arrayContaining(["mcpgw.db-wal", "control.sock", "audit"]));
  }
  await place.cli(["audit", "export", "--out", place.path("export")], { env });
  look(place.state);
  look(place.heads);
  expect(open).toEqual([]);
  for (const path of [place.state, place.heads]) expect(statSync(path).mode & 0o777).toBe(0o700);
  expect(statSync(place.path("export")).mode & 0o777).toBe(0o600);
});

test.skipIf(isRoot && !canBecomeNobody)(
  "R17: a server cannot read another server's secret from the gateway's own process (needs setpriv as root)",
  async () => {
    const token = canary("token");
    using place = new Place(config);
    // Root may read every process.
    place.becomeNobody();
    await using daemon = await place.start({ env: { TOKEN: token } });
    place.prefix = [];
    const key = await place.key("alice");
    const spied = resultOf((await daemon.call("b__spy", { needle: token }, key)).json) as {
      pid: number;
      found: number[];
      closed: number[];
      env: Env;
    };
    expect(spied.closed).toContain(daemon.pid);
    expect(spied.found).not.toContain(daemon.pid);
    expect(JSON.stringify(spied.env)).not.toContain(token);
    // Without a sandbox the kernel lets one child of a user read another: status and README say so.
    const children = pidsWith("FAKE_LOG=a.log");
    expect(spied.found.filter((pid) => !children.includes(pid))).toEqual([]);
    expect(await place.json("status")).toMatchObject({ sandbox: "none" });
  },
);

test.skipIf(isRoot && !canBecomeNobody)(
  "R17: a server cannot read another server's secret from the process of `serve` without a daemon (needs setpriv as root)",
  async () => {
    const token = canary("token");
    using place = new Place({ ...config, auth: servesParent });
    place.becomeNobody();
    await using client = new StdioClient(place, { TOKEN: token });
    await client.open();
    const spied = resultOf(await client.call("b__spy", { needle: token })) as Record<"found" | "closed", number[]>;
    expect(spied.closed).toContain(client.child.pid);
    expect(spied.found).not.toContain(client.child.pid);
  },
);

test.skipIf(isRoot && !canBecomeNobody)(
  "R17: a server cannot read the key of a client that is served by the same daemon (needs setpriv as root)",
  async () => {
    using place = new Place(config);
    // Root may read every process.
    place.becomeNobody();
    await using _daemon = await place.start({ env: { TOKEN: canary("token") } });
    const key = await place.key("alice");
    await using client = new StdioClient(place, { MCPGW_API_KEY: key });
    await client.open();
    const spied = resultOf(await client.call("b__spy", { needle: key })) as { found: number[]; closed: number[] };
    expect(spied.found).toEqual([]);
    expect(spied.closed).toContain(client.child.pid);
  },
);

test.skipIf(process.platform !== "linux" || (isRoot && !canBecomeNobody))(
  "R17: a client hides its key only after the daemon could identify it, even if /proc hides processes (needs setpriv as root)",
  async () => {
    using place = new Place(config);
    place.becomeNobody();
    const path = place.path("control.sock");
    const called = Promise.withResolvers<void>();
    const daemon = Bun.listen({ unix: path, socket: { data: () => called.resolve() } });
    chmodSync(path, 0o666);
    const client = place.spawn(["serve", "--socket", path], { MCPGW_API_KEY: strongKey() });
    await called.promise;
    // The files of a process that hides belong to root.
    const { uid } = statSync(`/proc/${client.pid}/environ`);
    daemon.stop(true);
    client.kill("SIGKILL");
    await client.exited;
    expect(uid).toBe(statSync(place.dir).uid);
  },
);

/** A server with one tool, which returns its arguments. */
const echoing = () =>
  serve((message) => {
    if (isCall(message)) return reply(message.id, text(JSON.stringify(message.params?.["arguments"])));
    const tools = [{ name: "echo", inputSchema: { type: "object" } }];
    return message.method === "tools/list" ? reply(message.id, { tools }) : null;
  });

/** Returns every file below a directory that contains one of the texts. */
function filesWith(dir: string, texts: readonly string[]): string[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .map((name) => join(dir, name))
    .filter((path) => statSync(path).isFile())
    .filter((path) => texts.some((text) => readFileSync(path).includes(text)));
}

test("S34, T60: no secret is in the state directory, logs, metrics, status, config, audit log or exports", async () => {
  using upstream = echoing();
  const secrets = { TOKEN: canary("token"), HEADER: canary("header"), KEY: strongKey() };
  const web = { id: "web", url: upstream.url, headers: { "X-Key": "${HEADER}" } };
  using place = new Place({
    ...config,
    servers: [...config.servers, web],
    auth: { type: "api-key", keys: [{ id: "yaml", key: "${KEY}", consumerId: "yaml", roles: ["user"] }] },
  });
  const shown: string[] = [];
  const all: string[] = Object.values(secrets);
  {
    await using daemon = await place.start({ env: { ...secrets, MCPGW_LOG_LEVEL: "debug" } });
    const made = await place.key("alice");
    all.push(made);
    // A server that repeats its secret in a result and in an error; a caller that sends keys as arguments.
    await daemon.call("a__env", {}, secrets.KEY);
    await daemon.call("a__echo", { token: secrets.TOKEN, header: `Bearer ${secrets.HEADER}`, key: secrets.KEY }, made);
    await daemon.call("a__nothing", { token: secrets.TOKEN }, made);
    await daemon.post("{}", { key: `${secrets.KEY}x` });
    await daemon.post("{}", { key: secrets.KEY, headers: { "x-api-key": secrets.KEY } });
    await daemon.call("web__echo", {}, secrets.KEY);
    shown.push((await daemon.get("/metrics")).text, (await daemon.get("/ready")).text);
    const commands = [
      ["status"],
      ["keys", "list"],
      ["servers", "list"],
      ["servers", "show", "a"],
      ["servers", "logs", "a"],
      ["tools", "list"],
      ["usage"],
      ["usage", "--by", "tool"],
      ["audit", "log"],
      ["audit", "stats"],
      ["audit", "export", "--payloads"],
      ["config", "show", "--running"],
    ];
    for (const command of commands) {
      const ran = await place.cli([...command, "--json"]);
      expect([command, ran.code]).toEqual([command, 0]);
      shown.push(ran.stdout, ran.stderr);
    }
    for (const flags of [[], ["--json"]]) {
      const offline = await place.cli(["config", "show", ...flags], { env: secrets });
      expect(offline.code).toBe(0);
      shown.push(offline.stdout);
    }
    await daemon.stop();
    shown.push(JSON.stringify(daemon.log));
  }
  for (const text of shown) for (const secret of all) expect(text).not.toContain(secret);
  expect(filesWith(place.state, all)).toEqual([]);
  expect(filesWith(place.heads, all)).toEqual([]);
});

test("S34, T60: a server that repeats the credential it refuses does not reveal it to anyone", async () => {
  const [header, whole, written] = [canary("header"), canary("whole"), canary("written")];
  const login = `u:${canary("login")}`;
  const repeating = (when: string) =>
    serve((message, { headers }) => {
      const { id, method } = message;
      // Most servers read only the part after the scheme.
      const token = headers.get("authorization")?.split(" ")[1];
      const said = `no such key: "${headers.get("x-key")}", "${token}"`;
      if (method === when) return isCall(message) ? new Response(said, { status: 500 }) : refusal(id, -32000, said);
      return method === "tools/list" ? reply(id, { tools: [{ name: "t", inputSchema: { type: "object" } }] }) : null;
    });
  using greets = repeating("initialize");
  using lists = repeating("tools/list");
  using called = repeating("tools/call");
  using other = repeating("tools/call");
  const web = (id: string, { url }: { url: string }, Authorization: string) => ({
    id,
    url,
    headers: { "X-Key": "${HEADER}", Authorization },
  });
  const [refers, holds] = ["${WHOLE}", `Bearer ${written}`];
  // A login in the URL is sent as a header, in base64.
  const knows = { id: "other", url: other.url.replace("://", `://${login}@`) };
  const servers = [web("greets", greets, holds), web("lists", lists, refers), web("called", called, holds), knows];
  using place = new Place({ ...config, servers, policies: [everything()] });
  // With the last of these variables Bun would write each request to the log.
  const env = { HEADER: header, WHOLE: `Bearer ${whole}`, BUN_CONFIG_VERBOSE_FETCH: "curl" };
  await using daemon = await place.start({ env });
  const key = await place.key("alice");
  const shown = [
    JSON.stringify((await daemon.call("called__t", {}, key)).json),
    JSON.stringify((await daemon.call("other__t", {}, key)).json),
    (await daemon.get("/ready")).text,
    (await place.cli(["status", "--json"])).stdout,
  ];
  for (const text of shown) expect(text).toContain("no such key: ");
  const omitted = (await daemon.post(request("tools/list"), { key, headers: v2025 })).text;
  await daemon.stop();
  for (const text of [...shown, omitted, JSON.stringify(daemon.log)])
    for (const secret of [header, whole, written, login.slice(2), btoa(login)]) expect(text).not.toContain(secret);
});

test("S34, T60: a secret that a reload replaced is still redacted, since calls made with it may still be answered", async () => {
  const [old, next] = [canary("old"), canary("next")];
  using place = new Place("");
  // A server that the reload does not change, and that reveals what it reads.
  const pipe = join(place.dir, "pipe");
  expect(Bun.spawnSync(["mkfifo", pipe]).exitCode).toBe(0);
  const { command, args, ...telltale } = fake("b");
  const tell = { ...telltale, command: "sh", args: ["-c", 'cat "$0" >&2 & exec "$@"', pipe, command, ...args] };
  place.configure({ servers: [fake("a", [], { env: { TOKEN: "${file:token}" } }), tell], policies: [everything()] });
  writeFileSync(join(place.dir, "token"), old);
  await using daemon = await place.start();
  const key = await place.key("alice");
  writeFileSync(join(place.dir, "token"), next);
  expect(await place.cli(["config", "reload"])).toMatchObject({ code: 0 });
  expect(await daemon.call("a__echo", { old, next }, key)).toMatchObject({ status: 200 });
  const { stdout } = await place.cli(["audit", "export", "--payloads"]);
  expect(stdout).toContain('\\"old\\":\\"[redacted]\\"');
  for (const secret of [old, next]) expect(stdout).not.toContain(secret);
  await writeFile(pipe, `said ${old} and ${next}\n`);
  await until(
    async () => (await place.cli(["servers", "logs", "b"])).stdout.includes("said [redacted] and [redacted]"),
    "the log",
  );
});

test("S03, R109, FIELD T27: an upstream gets the configured header and none of the caller's credentials", async () => {
  using upstream = echoing();
  const header = canary("header");
  const web = { id: "web", url: upstream.url, headers: { "X-Key": "${HEADER}", Authorization: "Bearer ${HEADER}" } };
  await using daemon = await start({ servers: [web], policies: [everything()] }, { env: { HEADER: header } });
  const key = await daemon.place.key("alice");
  const injected = {
    cookie: `session=${key}`,
    "x-upstream-authorization": key,
    "x-forwarded-for": key,
    "x-user-id": key,
    "x-gateway-auth": key,
    "x-vault-token": key,
    "proxy-authorization": key,
  };
  const answer = await daemon.post(
    { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "web__echo", arguments: { n: 1 } } },
    { key, headers: injected },
  );
  expect(answer.json).toMatchObject({ result: { content: [{ text: '{"n":1}' }] } });
  await until(() => upstream.seen.some(({ method }) => method === "tools/call"), "it was called");
  for (const { headers } of upstream.seen) {
    expect(headers.get("x-key")).toBe(header);
    expect(headers.get("authorization")).toBe(`Bearer ${header}`);
    expect(JSON.stringify([...headers])).not.toContain(key);
  }
});

test("proxy variables do not reroute upstreams, but reach a server whose configuration names them", async () => {
  using upstream = echoing();
  const proxies = { HTTP_PROXY: "http://127.0.0.1:1", https_proxy: "http://127.0.0.1:1", NO_PROXY: "intranet" };
  const own = { HTTP_PROXY: "${HTTP_PROXY}", https_proxy: "${https_proxy}", NO_PROXY: "${NO_PROXY}" };
  const servers = [fake("a", [], { env: own }), { id: "web", url: upstream.url }];
  await using daemon = await start({ servers, policies: [everything()] }, { env: proxies });
  const key = await daemon.place.key("alice");
  expect(envOf((await daemon.call("a__env", {}, key)).json)).toMatchObject(proxies);
  expect(resultOf((await daemon.call("web__echo", { n: 1 }, key)).json)).toEqual({ n: 1 });
});
