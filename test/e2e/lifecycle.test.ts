import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { alive, caught, commandOf, pidsWith } from "../support/processes.ts";
import { Daemon, daemonCommand, everything, fake, Place, start } from "../support/daemon.ts";
import { until } from "../support/until.ts";
import { modern, pick, request, textOf, v2025 } from "../support/wire.ts";

// A daemon's life: start, readiness, drain, signals, its lock, and starting with the configuration of others.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = { servers: [fake("fake", [], { isolation: "shared" })], policies: [everything()] };

// These wait for slow calls and children, so they run concurrently.
test.concurrent("R114, R122, T46: SIGTERM lets 64 running calls finish, accepts no new one, writes a last checkpoint and exits 0", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const key = await place.key("alice");
  const slow = { ms: 0, file: join(place.dir, "go-on") };
  const running = Array.from({ length: 64 }, (_, id) => daemon.call("fake__slow", slow, key, id));
  await until(() => place.calls("fake").length === 64, "all calls run");
  const exit = daemon.stop("SIGTERM");
  await daemon.logged(({ msg }) => msg === "stopping");
  const refused = async () => (await fetch(`${daemon.url}/ready`).catch(() => null)) === null;
  await until(refused, "nothing is accepted");
  writeFileSync(slow.file, "");
  const answers = await Promise.all(running);
  expect(new Set(answers.map(({ json }) => textOf(json)))).toEqual(new Set([JSON.stringify(slow)]));
  expect(await exit).toBe(0);
  expect(daemon.log.at(-1)).toMatchObject({ msg: "stopped" });
  expect((await place.cli(["audit", "verify"])).code).toBe(0);
  const records = await place.records();
  expect(records.filter(({ type }) => type === "call.end")).toHaveLength(64);
  expect(records.filter(({ type }) => type === "call.lost")).toEqual([]);
  expect(records.at(-1)).toMatchObject({ type: "checkpoint" });
});

test.concurrent("T46: SIGTERM lets a call of `mcpgw tools call` finish too", async () => {
  const admin = everything("admin");
  await using daemon = await start({ ...config, policies: [admin] });
  const { place } = daemon;
  const file = join(place.dir, "go-on");
  const ran = place.cli(["tools", "call", "fake:slow", "ms=0", `file=${file}`]);
  await until(() => place.calls("fake").length === 1, "the call runs");
  const exit = daemon.stop("SIGTERM");
  await daemon.logged(({ msg }) => msg === "stopping");
  writeFileSync(file, "");
  expect(await exit).toBe(0);
  expect(await ran).toMatchObject({ code: 0 });
  expect((await place.records()).map(({ type }) => type)).not.toContain("call.lost");
});

test.concurrent("R114: a daemon that is told to stop while servers start never reports ready", async () => {
  const slow = {
    id: "mute",
    command: process.execPath,
    args: ["-e", "setInterval(() => {}, 1000)"],
    isolation: "shared",
  };
  using place = new Place({ servers: [slow] });
  const child = place.spawn(daemonCommand);
  await until(() => existsSync(join(place.state, "control.sock")), "it listens");
  expect(await place.json("status")).toMatchObject({ state: "starting", waitsFor: ["mute"] });
  const waited = await place.cli(["status", "--wait", "0"]);
  expect(waited).toMatchObject({ code: 1, stderr: expect.stringContaining("it is starting and waits for mute") });
  child.kill("SIGTERM");
  const [log, code] = await Promise.all([child.stderr.text(), child.exited]);
  expect(code).toBe(0);
  expect(log).toContain('"stopped"');
  expect(log).not.toContain('"msg":"ready"');
});

test.concurrent("T46: a server that ends while the daemon stops is not started again", async () => {
  await using daemon = await start({
    ...config,
    servers: [...config.servers, fake("other", [], { isolation: "shared" })],
  });
  const { place } = daemon;
  const file = join(place.dir, "go-on");
  const slow = daemon.call("other__slow", { ms: 0, file }, await place.key("alice"));
  await until(() => place.calls("other").length === 1, "a call holds the daemon");
  const exit = daemon.stop("SIGTERM");
  await daemon.logged(({ msg }) => msg === "stopping");
  const pids = () => [...new Set(place.heard("fake").map((message) => message.pid))];
  const before = pids();
  process.kill(Number(before.at(-1)), "SIGTERM");
  const { retryMs } = await daemon.logged(({ msg }) => msg === "a server is not available");
  const since = performance.now();
  await until(() => performance.now() - since > Number(retryMs) + 300, "the time at which it would be started again");
  writeFileSync(file, "");
  expect((await slow).status).toBe(200);
  expect(await exit).toBe(0);
  expect(pids()).toEqual(before);
});

test("an on-demand server that was never listed is offered at once without delaying the start; its stored list is used later", async () => {
  const { command, args, ...rest } = fake("fake", [], { start: "on-demand", protocol: "legacy" });
  const late = ["-c", 'while [ ! -e gate ]; do sleep 0.02; done; exec "$@"', "sh", command, ...args];
  using place = new Place({ ...config, servers: [{ ...rest, command: "sh", args: late }] });
  const starts = () => place.heard("fake").filter(({ method }) => method === "initialize").length;
  const state = async () =>
    ((await place.json("servers", "list")) as { servers: { state: string }[] }).servers[0]?.state;
  {
    await using daemon = await place.start();
    const key = await place.key("alice");
    expect(await state()).toBe("starting");
    const waits = [daemon.post(request("tools/list"), { key, headers: v2025 }), daemon.call("fake__echo", {}, key)];
    writeFileSync(join(place.dir, "gate"), "");
    const [list, call] = await Promise.all(waits);
    expect(list?.text).toContain("fake__echo");
    expect(textOf(call?.json)).toBe('{"args":{},"name":"echo"}');
  }
  const before = starts();
  await using daemon = await place.start();
  const key = await place.key("bob");
  expect((await daemon.post(request("tools/list"), { key, headers: v2025 })).text).toContain("fake__echo");
  expect([await state(), starts()]).toEqual(["idle", before]);
});

test("R20: the log reports that a server is unavailable, and that it is available again", async () => {
  const { command, args, ...rest } = fake("fake");
  const gated = ["-c", '[ -e gate ] && exec "$@"', "sh", command, ...args];
  await using daemon = await start({ ...config, servers: [{ ...rest, command: "sh", args: gated }] });
  await daemon.logged(({ msg }) => msg === "a server is not available");
  writeFileSync(join(daemon.place.dir, "gate"), "");
  const again = await daemon.logged(({ msg }) => msg === "a server is available again");
  expect(again).toMatchObject({ level: "info", server: "fake" });
});

test("R114: with nothing to wait for the daemon ends at once, its children first", async () => {
  await using daemon = await start(config);
  const run = daemon.place.run();
  expect(pidsWith(run).length).toBeGreaterThan(0);
  expect(await daemon.stop()).toBe(0);
  expect(pidsWith(run)).toEqual([]);
});

test.skipIf(process.platform !== "linux")(
  "a SIGHUP during the start reloads once the start has finished (needs Linux)",
  async () => {
    using place = new Place(config);
    const child = place.spawn(daemonCommand);
    await using daemon = new Daemon(place, child);
    const [hangup, terminate] = [1n << 0n, 1n << 14n];
    await until(() => (caught(child.pid) & terminate) !== 0n, "it takes SIGTERM");
    expect(caught(child.pid) & hangup).toBe(hangup);
    child.kill("SIGHUP");
    await daemon.logged(({ msg }) => msg === "configuration loaded");
    await daemon.ready;
  },
);

test.skipIf(process.platform !== "linux")(
  "T26: it warns if it may open too few files for its connections (needs Linux)",
  async () => {
    using place = new Place({ ...config, listen: { maxConnections: 2000 } });
    place.prefix = ["sh", "-c", 'ulimit -n 512; exec "$@"', "sh"];
    await using daemon = await place.start();
    place.prefix = [];
    const warnings = await place.warnings();
    expect(warnings.join("\n")).toContain("may open 512 files");
    expect(await daemon.logged(({ msg }) => msg.includes("may open 512 files"))).toMatchObject({ level: "warn" });
  },
);

test("T46: a second SIGTERM ends it at once; its processes are gone, and its call shows as lost after the next start", async () => {
  using place = new Place(config);
  const key = await place.key("alice");
  {
    await using daemon = await place.start();
    const { body, headers } = modern("tools/call", { name: "fake__hang", arguments: {} }, { id: "hung" });
    const hung = daemon.post(body, { key, headers }).catch(() => null);
    await until(() => place.calls("fake").includes("hang"), "the call runs");
    daemon.child.kill("SIGTERM");
    await daemon.logged(({ msg }) => msg === "stopping");
    expect(await daemon.stop("SIGTERM")).not.toBe(0);
    await hung;
    const run = place.run();
    await until(() => pidsWith(run).length === 0, "no child is left");
  }
  await using next = await place.start();
  expect((await next.call("fake__echo", {}, key)).status).toBe(200);
  const records = await place.records();
  const begin = records.find(({ rpc }) => rpc === '"hung"');
  expect(records.filter(({ type }) => type === "call.lost")).toMatchObject([
    { call: begin?.call, ref: begin?.seq, st: "lost" },
  ]);
});

test("T48: a second daemon on the same state names the first and ends; a stale lock is taken over", async () => {
  using place = new Place(config);
  await using first = await place.start();
  const second = await place.cli(daemonCommand);
  expect(second.code).toBe(1);
  expect(second.stderr).toContain(`pid ${first.pid}`);
  expect((await first.get("/live")).status).toBe(200);
  await first.stop("SIGKILL");
  await using third = await place.start();
  expect((await third.get("/ready")).json).toMatchObject({ status: "ready" });
});

test("R115: /live and /ready are for all; their detail and /metrics are for this machine or a key that allows them", async () => {
  const watcher = {
    id: "w",
    roles: ["watcher"],
    rules: [
      { tool: "mcpgw:metrics", action: "allow" },
      { tool: "mcpgw:status", action: "allow" },
    ],
  };
  await using daemon = await start({ ...config, policies: [everything(), watcher] });
  const user = await daemon.place.key("alice");
  const allowed = await daemon.place.key("prometheus", "watcher");
  const through = { "x-forwarded-for": "203.0.113.9" };
  expect(await daemon.get("/live", through)).toMatchObject({ status: 200 });
  expect((await daemon.get("/ready", through)).json).toEqual({ status: "ready" });
  expect((await daemon.get("/ready")).json).toMatchObject({
    status: "ready",
    sandbox: "none",
    servers: [{ id: "fake", state: "ready" }],
  });
  expect((await daemon.get("/metrics", through)).status).toBe(401);
  expect((await daemon.get("/metrics", { via: "1.1 proxy" })).status).toBe(401);
  expect((await daemon.get("/metrics", { ...through, authorization: `Bearer ${user}` })).status).toBe(403);
  for (const path of ["/ready", "/metrics"]) {
    const answer = await daemon.get(path, { ...through, authorization: `Bearer ${allowed}` });
    expect(answer.status).toBe(200);
    expect(answer.text).toContain("fake");
  }
  for (const path of ["/", "/nobody", "/%6dcp", "/METRICS", "/live/x"])
    expect((await daemon.get(path)).status).toBe(404);
  expect((await fetch(`${daemon.url}/mcp`, { method: "PUT" })).status).toBe(405);
});

test("R63, R118: every log line is JSON with time and level, or text if configured", async () => {
  await using daemon = await start(config);
  await daemon.stop();
  expect(daemon.log.length).toBeGreaterThan(3);
  for (const line of daemon.log)
    expect(line).toMatchObject({
      t: expect.stringMatching(/^\d{4}-.*Z$/),
      level: expect.stringMatching(/^(info|warn)$/),
      msg: expect.any(String),
    });
  using place = new Place({ ...config, log: { format: "text", level: "warn" }, policies: [] });
  const child = place.spawn(daemonCommand);
  await until(async () => (await place.cli(["status", "--wait", "10"])).code === 0, "it is ready", 15_000);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
  expect(await child.stderr.text()).not.toContain("{");
});

test("R89, T48: a port or control socket in use is an error that names it, before anything is opened or started", async () => {
  await using daemon = await start(config);
  const { port } = new URL(daemon.url);
  using place = new Place(config);
  const ran = await place.cli(["daemon", "--listen", `127.0.0.1:${port}`]);
  expect(ran.code).toBe(1);
  expect(ran.stderr).toContain(port);
  place.configure({ ...config, control: { socket: join(daemon.place.state, "control.sock") } });
  const taken = await place.cli(daemonCommand);
  expect(taken).toMatchObject({ code: 1, stderr: expect.stringContaining("another daemon is running there") });
  expect(existsSync(join(place.state, "audit/main.db"))).toBe(false);
  expect(place.heard("fake")).toEqual([]);
  expect((await daemon.get("/live")).status).toBe(200);
});

test("T40: errors at the start exit with 2 and name their place, including a missing file", async () => {
  using place = new Place("servers:\n  - { id: A, command: x }\n");
  expect(await place.cli(["daemon"])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("gateway.yaml:2:11: servers[0].id"),
  });
  place.configure({ ...config, listen: { tls: { cert: "no.pem", key: "no.key" } }, audit: { path: "ev/chain.db" } });
  for (const args of [daemonCommand, ["serve"], ["config", "check"]]) {
    const ran = await place.cli(args);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toMatch(/gateway.yaml:\d+:\d+: listen.tls.cert: file not found/);
    expect(ran.stderr).toMatch(/gateway.yaml:\d+:\d+: listen.tls.key: file not found/);
    expect(ran.stderr).toMatch(/gateway.yaml:\d+:\d+: audit.path: its directory does not exist/);
  }
  expect(existsSync(place.state)).toBe(false);
});

test("T40: if no configuration is found, every command reports it in the same words", async () => {
  using place = new Place({});
  const [empty, foreign] = [place.path("empty"), place.path("foreign")];
  for (const dir of [empty, foreign]) mkdirSync(dir);
  writeFileSync(join(foreign, "gateway.yaml"), "");
  chmodSync(join(foreign, "gateway.yaml"), 0o666);
  const nothing = /^mcpgw: no configuration found in --config, .*; `mcpgw init` writes one\n$/;
  const ignoredConfigNote = /^mcpgw: \S+\/gateway\.yaml .* name it with --config\n$/;
  for (const [command, cwd, says] of [
    ["daemon", empty, nothing],
    ["config check", empty, nothing],
    ["serve", empty, nothing],
    ["servers disable one", empty, nothing],
    ["daemon", foreign, ignoredConfigNote],
    ["config check", foreign, ignoredConfigNote],
  ] as const) {
    const { code, stderr } = await place.bare([...command.split(" "), "--socket", place.path("none.sock")], cwd);
    expect([command, code, stderr]).toEqual([command, 2, expect.stringMatching(says)]);
  }
});

test("R16, R49: the example of the first document starts unchanged, and its placeholder key is inactive", async () => {
  using place = new Place(readFileSync(join(import.meta.dir, "../fixtures/config/first-document.yaml"), "utf8"));
  const env = { STRIPE_SECRET_KEY: "sk_test_canary" };
  const checked = await place.cli(["config", "check"], { env });
  expect(checked).toMatchObject({ code: 0, stderr: expect.stringContaining("auth.keys[0].key: is a placeholder") });
  await using daemon = await place.start({ env });
  expect((await daemon.post(request("ping"), { key: "gw_your_key_here" })).status).toBe(401);
  const key = await place.key("agent-1", "reader");
  const listed = await daemon.post(request("tools/list"), { key });
  expect(pick(listed.json, "result.tools")).toEqual([]);
  const { servers } = (await place.json("servers", "list")) as { servers: { id: string }[] };
  expect(servers.map(({ id }) => id)).toEqual(["mcp-fred", "mcp-stripe"]);
  expect((await place.cli(["keys", "list"])).stdout).toContain("key-1");
});

test("R16, R19, R128: children are supervised: a killed child is replaced, and servers restart replaces it on request", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  const pids = async (): Promise<number[]> =>
    pick(await place.json("servers", "show", "fake"), "server.pids") as number[];
  const [first = 0] = await until(async () => ((await pids()).length > 0 ? pids() : null), "it runs");
  expect(commandOf(first)).toContain("fakemcp");
  process.kill(first, "SIGKILL");
  const [second = 0] = await until(
    async () => ((await pids()).some((pid) => pid !== first) ? pids() : null),
    "it is replaced",
  );
  expect(await place.json("servers", "restart", "fake")).toMatchObject({ server: { state: "ready" } });
  await until(
    async () => !alive(second) && (await pids()).length > 0 && !(await pids()).includes(second),
    "it was restarted",
  );
  expect(JSON.stringify(await place.records())).toContain("server.crashed");
});
