import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { reply, serve } from "../support/mcp-server.ts";
import { alive } from "../support/processes.ts";
import { type Daemon, daemonCommand, everything, fake, Place, start, strongKey } from "../support/daemon.ts";
import { until } from "../support/until.ts";
import { eventsOf, pick, request, resultOf, v2025 } from "../support/wire.ts";

// A new configuration is applied as a whole, or refused as a whole with the reason.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const shared = (id: string, args: string[] = [], more: Record<string, unknown> = {}) =>
  fake(id, args, { isolation: "shared", ...more });
const config = { servers: [shared("one"), shared("two")], policies: [everything()] };
type Config = Record<string, unknown>;

let daemon: Daemon;
let key: string;

beforeAll(async () => {
  daemon = await start(config, { env: { ONLY_HERE: "value" } });
  key = await daemon.place.key("alice");
});
afterAll(() => daemon[Symbol.asyncDispose]());

const reload = () => daemon.place.cli(["config", "reload"]);

async function pidOf(server: string, who = key): Promise<number> {
  const answer = await daemon.call(`${server}__count`, {}, who);
  return Number(pick(resultOf(answer.json), "pid"));
}

async function restore(next: Config = config): Promise<void> {
  daemon.place.configure(next);
  expect(await reload()).toMatchObject({ code: 0 });
}

const yaml = (policies: string, servers = "servers: []"): string => `${servers}\n${policies}\n`;
const bad: Record<string, { text: string | Config; says: string[] }> = {
  "broken YAML": { text: "servers: [\n  - {", says: ["gateway.yaml:"] },
  "an unknown key": { text: yaml("polices: []"), says: ["gateway.yaml:2:1:", "polices", "did you mean policies"] },
  "a duplicate id": {
    text: "servers:\n  - { id: one, command: x }\n  - { id: one, command: y }\n",
    says: ["gateway.yaml:3:11:", "servers[1].id", "servers[0]"],
  },
  "a variable that is not set": {
    text: 'servers:\n  - { id: one, command: x, env: { T: "${NOT_SET_ANYWHERE}" } }\n',
    says: ["gateway.yaml:2:", "servers[0].env.T", "NOT_SET_ANYWHERE"],
  },
  "an invalid glob": {
    text: yaml('rules:\n  - { tool: "", action: deny }'),
    says: ["gateway.yaml:3:", "rules[0].tool"],
  },
  "an invalid action": {
    text: yaml("rules:\n  - { action: forbid }"),
    says: ["gateway.yaml:3:", "allow or deny"],
  },
  "a regular expression that cannot run": {
    text: yaml('rules:\n  - { when: { args.a: { regex: "(" } }, action: deny }'),
    says: ["gateway.yaml:3:", "regex"],
  },
  "a wrong type": { text: "limits: { perMinute: lots }\n", says: ["gateway.yaml:1:", "limits.perMinute"] },
  "a change of the listening address": {
    text: yaml("listen:\n  allowedHosts: [a.test]"),
    says: ["gateway.yaml:2:1: listen: needs restart"],
  },
  "a change of the control socket": {
    text: yaml("control: { adminGroup: root }"),
    says: ["gateway.yaml:2:1: control: needs restart"],
  },
  "a change of metering": {
    text: yaml("usage: { enabled: false }"),
    says: ["gateway.yaml:2:10: usage.enabled: needs restart"],
  },
  "a disabled audit": { text: { ...config, audit: { enabled: false } }, says: ["audit", "cannot be"] },
};

test.each(Object.entries(bad))("T40: %s changes nothing and reports why", async (_name, { text, says }) => {
  const pid = await pidOf("one");
  const running = await daemon.place.json("config", "show", "--running");
  daemon.place.configure(text);
  const ran = await reload();
  expect({ code: ran.code === 0, stdout: ran.stdout }).toEqual({ code: false, stdout: "" });
  for (const word of says) expect(ran.stderr).toContain(word);
  expect(await daemon.place.json("config", "show", "--running").catch(() => null)).toEqual(running);
  expect(await pidOf("one")).toBe(pid);
});

test("T40: a key that clashes with a stored one is refused by reload and start, which name its place", async () => {
  const { place } = daemon;
  const { id } = await place.newKey("bob");
  place.configure({ ...config, auth: { keys: [{ id, key: strongKey(), consumerId: "bob", roles: ["user"] }] } });
  const ran = await reload();
  expect(ran).toMatchObject({ code: 2, stdout: "" });
  expect(ran.stderr).toMatch(
    new RegExp(String.raw`gateway.yaml:\d+:\d+: auth.keys\[0\].id: id ${id} occurs twice, also in the stored keys`),
  );
  await restore();
  using other = new Place(config);
  const twin = (await other.newKey("bob")).id;
  other.configure({ ...config, auth: { keys: [{ id: twin, key: strongKey(), consumerId: "bob", roles: ["user"] }] } });
  const started = await other.cli(daemonCommand);
  expect(started.code).toBe(2);
  expect(started.stderr).toContain("auth.keys[0].id");
});

test("reload and status each warn once of parts of a policy without effect", async () => {
  const ghost = { id: "g", key: strongKey(), consumerId: "g", roles: ["ghost"] };
  const lost = ["nowhere", "one"].map((server) => ({ server, tool: "ecko", action: "deny" }));
  daemon.place.configure({ ...config, rules: lost, auth: { keys: [ghost] } });
  const { stderr } = await reload();
  const warnings = await daemon.place.warnings();
  for (const said of [stderr, warnings.join("\n")]) {
    for (const name of ["ghost", "nowhere", "ecko"]) expect(said.split(name)).toHaveLength(2);
  }
  await restore();
});

test("T40: SIGHUP does the same; the log, the audit log and status report why, and a good file then loads", async () => {
  const { place } = daemon;
  const already = daemon.log.length;
  const after = (msg: string) =>
    daemon.logged((line) => daemon.log.indexOf(line) >= already && line.msg.startsWith(msg));
  place.configure("servers: 7\nrules: 7\n");
  daemon.child.kill("SIGHUP");
  expect(await after("configuration rejected")).toMatchObject({
    level: "error",
    cause: expect.stringContaining(":1:10"),
  });
  const warned = async () => (await place.warnings()).join("\n");
  expect(await warned()).toMatch(
    /^the configuration was not reloaded; the previous one stays in effect: .*:1:10: .*; .*:2:8: /m,
  );
  expect((await daemon.get("/metrics")).text).toContain("mcpgw_config_ok 0");
  place.configure({ ...config, auth: { stdio: { consumerId: "a", roles: ["ghost"] } } });
  daemon.child.kill("SIGHUP");
  expect(await after("auth.stdio.roles[0]")).toMatchObject({ level: "warn" });
  expect(await warned()).not.toContain("not reloaded");
  const records = await place.records();
  expect(records.filter(({ type }) => type === "config.rejected").at(-1)?.["facts"]).toMatchObject({
    cause: expect.stringContaining("servers"),
  });
  expect(records.filter(({ type }) => type === "config.loaded").length).toBeGreaterThanOrEqual(2);
});

test("R118 a reload changes what the log shows", async () => {
  const loaded = () => daemon.log.filter(({ msg }) => msg === "configuration loaded").length;
  const before = loaded();
  daemon.place.configure({ ...config, log: { level: "error" } });
  expect(await reload()).toMatchObject({ code: 0 });
  await restore();
  await daemon.logged(() => loaded() > before);
  expect(loaded()).toBe(before + 1);
});

test("T40: the daemon can still be reached if its file cannot be read, and reports what is wrong with it", async () => {
  using place = new Place(config);
  // Only the default location tells where the daemon is.
  const env = { RUNTIME_DIRECTORY: place.dir };
  place.flags = () => ["--config", place.config];
  await using own = await place.start({ env });
  place.configure("servers: [\n");
  const ran = await place.cli(["config", "reload"], { env });
  expect(ran).toMatchObject({ code: 2, stdout: "" });
  expect(ran.stderr).toContain(`could not read the socket from ${place.config}:2:1:`);
  expect(ran.stderr).toContain(`mcpgw: ${place.config}:2:1: `);
  await own.logged((line) => line.msg.startsWith("configuration rejected"));
  expect(await place.cli(["keys", "freeze"], { env })).toMatchObject({ code: 0 });
  const other = join(place.dir, "other.yaml");
  writeFileSync(other, "servers: [\n");
  place.flags = () => ["--config", other];
  const unknown = await place.cli(["keys", "unfreeze"], { env });
  expect(unknown).toMatchObject({ code: 2, stdout: "" });
  expect(unknown.stderr).toContain(`${other}:2:1: `);
  // No one writes into the pipe, so reading it would never end.
  const pipe = join(place.dir, "pipe.yaml");
  Bun.spawnSync(["mkfifo", pipe]);
  place.flags = () => ["--config", pipe];
  expect(await place.cli(["status"], { env })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("is not a regular file"),
  });
});

test("T40: a bad file is reported even while the log accepts no records, and other operations report why they are refused", async () => {
  await using own = await start(config);
  const { place } = own;
  const main = join(place.state, "audit", "main.db");
  renameSync(main, `${main}.old`);
  const act = () => place.cli(["keys", "create", "one", "agent", "user"]);
  await until(async () => (await act()).code !== 0, "the loss of the log");
  expect((await act()).stderr).toMatch(/cannot record this act now.*\(.*main\.db/);
  place.configure("servers: [\n");
  expect(await place.cli(["config", "reload"])).toMatchObject({ stderr: expect.stringContaining(":2:1: ") });
});

test("R17: a reload that reads a changed secret counts as a change, even if the file is the same", async () => {
  const secret = join(daemon.place.dir, "secret");
  const servers = [shared("one", [], { env: { TOKEN: "${file:secret}" } })];
  writeFileSync(secret, "first-secret");
  await restore({ ...config, servers });
  writeFileSync(secret, "other-secret");
  expect(await daemon.place.json("config", "reload")).toMatchObject({ changed: true });
  expect(await daemon.place.json("config", "reload")).toMatchObject({ changed: false });
  expect((await reload()).stdout).toContain(": no changes");
});

test("T41, FIELD T3: an unchanged child keeps its pid, a changed one is replaced, a removed one ends, a new one starts", async () => {
  await restore();
  const [one, two] = [await pidOf("one"), await pidOf("two")];
  await restore({ ...config, servers: [shared("one"), shared("two", [], { env: { NEW: "1" } }), shared("three")] });
  expect(await pidOf("one")).toBe(one);
  // Its tools are known again once the new instance has listed them.
  const replaced = await until(() => pidOf("two").catch(() => 0), "the new instance serves");
  expect(replaced).not.toBe(two);
  await until(() => !alive(two), "the old instance has ended");
  await until(() => pidOf("three").catch(() => 0), "the added server serves");
  await restore({ ...config, servers: [shared("one")] });
  expect(pick((await daemon.call("two__echo", {}, key)).json, "error.code")).toBe(-32602);
  expect(await pidOf("one")).toBe(one);
  await restore();
});

test("T41: a running call finishes on the configuration it began with, on a child that is being replaced", async () => {
  await restore();
  const slows = () => daemon.place.calls("two").filter((tool) => tool === "slow").length;
  const before = slows();
  const held = { ms: 0, file: join(daemon.place.dir, "go-on") };
  const slow = daemon.call("two__slow", held, key, "slow");
  await until(() => slows() > before, "the call runs");
  await restore({ ...config, servers: [shared("one")], policies: [] });
  writeFileSync(held.file, "");
  expect((await slow).json).toMatchObject({ id: "slow", result: { content: [{ text: JSON.stringify(held) }] } });
  await restore();
});

test("T41: the end of a replaced child does not affect its successor: calls on both finish", async () => {
  await restore();
  const { place } = daemon;
  const slowUntil = (file: string) => daemon.call("two__slow", { ms: 5, file: join(place.dir, file) }, key, file);
  const runsOn = (pid: number) => place.heard("two").some((one) => one.pid === pid && one.params?.["name"] === "slow");
  const old = await pidOf("two");
  const before = slowUntil("before");
  await until(() => runsOn(old), "a call runs on the old child");
  await restore({ ...config, servers: [shared("one"), shared("two", [], { env: { NEXT: "1" } })] });
  const next = await until(() => pidOf("two").catch(() => 0), "the successor serves");
  const after = slowUntil("after");
  await until(() => runsOn(next), "a call runs on the new child");
  writeFileSync(join(place.dir, "before"), "");
  expect((await before).json).toMatchObject({
    id: "before",
    result: { content: [{ text: expect.stringContaining("before") }] },
  });
  const stopped = async () =>
    (await place.records()).some(({ type, facts }) => type === "server.stopped" && pick(facts, "pid") === old);
  await until(stopped, "the old child and all that belongs to it has ended");
  writeFileSync(join(place.dir, "after"), "");
  expect((await after).json).toMatchObject({
    id: "after",
    result: { content: [{ text: expect.stringContaining("after") }] },
  });
  expect(await pidOf("two")).toBe(next);
  await restore();
});

test("T43: a stricter policy denies at once, even after the list was fetched, and clients are notified", async () => {
  await restore();
  const session = await daemon.session(key);
  const events = eventsOf(await daemon.stream(key, session));
  const listed = async (): Promise<string[]> => {
    const answer = await daemon.post(request("tools/list"), { key, headers: session });
    return (pick(answer.json, "result.tools") as { name: string }[]).map(({ name }) => name);
  };
  expect(await listed()).toContain("one__echo");
  await restore({ ...config, rules: [{ id: "no-echo", tool: "echo", action: "deny" }] });
  const call = request("tools/call", { name: "one__echo", arguments: {} });
  const refused = await daemon.post(call, { key, headers: session });
  expect(pick(refused.json, "error.code")).toBe(-32602);
  expect((await events.next()).value).toMatchObject({ method: "notifications/tools/list_changed" });
  expect(await listed()).not.toContain("one__echo");
  // This reload changes no server.
  await restore();
  expect((await events.next()).value).toMatchObject({ method: "notifications/tools/list_changed" });
  expect(await listed()).toContain("one__echo");
});

test("T41: under load every call is decided by one whole configuration, and none is dropped", async () => {
  const variants: Config[] = [config, { ...config, rules: [{ id: "never", tool: "none", action: "deny" }] }];
  let reloading = true;
  const statuses: unknown[] = [];
  const load = Array.from({ length: 4 }, async () => {
    while (reloading) {
      const answer = await daemon.call("one__echo", {}, key);
      statuses.push(pick(answer.json, "result.isError") ?? pick(answer.json, "error.code") ?? answer.status);
    }
  });
  for (let i = 0; i < 6; i++) {
    await restore(variants[i % 2]);
    // One more than run at once, so that this configuration has decided one of them.
    const enough = statuses.length + load.length + 1;
    await until(() => statuses.length >= enough, "calls under this configuration");
  }
  reloading = false;
  await Promise.all(load);
  expect(new Set(statuses)).toEqual(new Set([200]));
  await restore();
  await daemon.call("one__echo", {}, key);
  const records = await daemon.place.records();
  const loaded = records.filter(({ type }) => type === "config.loaded").map(({ facts }) => pick(facts, "policy"));
  const decided = records.filter(({ type }) => type === "call.begin").map(({ pol }) => pol);
  expect(decided.filter((digest) => !loaded.includes(digest))).toEqual([]);
  expect(new Set(decided).size).toBeGreaterThan(1);
  expect<unknown>(decided.at(-1)).toBe(loaded.at(-1));
});

test("R118 R17 the reloaded configuration decides which payloads are recorded and which secrets are redacted", async () => {
  const late = { id: "late", command: "x", enabled: false, env: { API_TOKEN: "s3cret-kept" } };
  const kept = async (payloads: string, servers = config.servers as readonly object[]): Promise<string> => {
    await restore({ ...config, audit: { payloads }, servers });
    await daemon.call("one__echo", { text: "s3cret-kept" }, key);
    const seq = String((await daemon.place.records()).findLast(({ type }) => type === "call.begin")?.seq);
    return (await daemon.place.cli(["audit", "show", seq, "--payloads", "--json"])).stdout;
  };
  expect(await kept("full")).toContain("s3cret-kept");
  expect(await kept("none")).not.toContain("s3cret-kept");
  expect(await kept("full", [...config.servers, late])).not.toContain("s3cret-kept");
});

test("R1, R86: the command line switches a server off and on by editing the file and reloading", async () => {
  await restore();
  expect(await daemon.place.json("servers", "disable", "two")).toMatchObject({ reloaded: true });
  expect(pick((await daemon.call("two__echo", {}, key)).json, "error.code")).toBe(-32602);
  const revived = await daemon.place.cli(["servers", "restart", "two"]);
  expect(revived).toMatchObject({ code: 1, stderr: expect.stringContaining("servers enable two") });
  expect(await daemon.place.json("servers", "disable", "two")).toMatchObject({ reloaded: true });
  expect(await daemon.place.json("servers", "show", "two")).toMatchObject({ server: { state: "disabled", pids: [] } });
  expect(await daemon.place.json("servers", "enable", "two")).toMatchObject({ reloaded: true });
  await until(
    async () => pick((await daemon.call("two__echo", {}, key)).json, "result") !== undefined,
    "it serves again",
  );
  const loads = (await daemon.place.records()).filter(({ type }) => type === "config.loaded").slice(-3);
  const told = loads.map(({ caller, facts }) => [caller, (facts as Record<string, unknown>)["server.two"]]);
  const who = `local:${process.getuid?.()}`;
  expect(told).toEqual([
    [who, "off"],
    [who, "off"],
    [who, "on"],
  ]);
});

test("a list requested while a server starts still waits for it across a reload", async () => {
  const mark = "started";
  const late = { command: "sh", args: ["-c", 'until test -e "$0"; do sleep 0.02; done; exec "$@"', mark] };
  const { command, args, ...rest } = fake("late", [], { start: "on-demand", protocol: "legacy" });
  const slow = { servers: [{ ...rest, ...late, args: [...late.args, command, ...args] }], policies: [everything()] };
  await using other = await start(slow);
  const alice = await other.place.key("alice");
  other.place.configure({ ...slow, limits: { perMinute: 1_000 } });
  expect(await other.place.cli(["config", "reload"])).toMatchObject({ code: 0 });
  const listed = other.post(request("tools/list"), { key: alice });
  writeFileSync(join(other.place.dir, mark), "");
  expect(JSON.stringify((await listed).json)).toContain("late__echo");
});

test("a URI that a server gave out before a reload removed it is not routed to another server", async () => {
  const uri = "file:///share/signed?token=s3cret";
  const tools = [{ name: "give", inputSchema: { type: "object" } }];
  using gone = serve(({ method, id }) => {
    if (method === "tools/list") return reply(id, { tools });
    return method === "tools/call" ? reply(id, { content: [{ type: "resource_link", uri, name: "x" }] }) : null;
  });
  using rest = serve(({ method, id, params }) => {
    const greeting = { protocolVersion: "2025-11-25", capabilities: { resources: {} } };
    if (method === "initialize") return reply(id, greeting);
    if (method?.endsWith("/list")) return reply(id, { resources: [], resourceTemplates: [] });
    return method === "resources/read" ? reply(id, { contents: [{ uri: params?.["uri"], text: "mine" }] }) : null;
  });
  const at = (id: string, { url }: { url: string }) => ({ id, url, protocol: "legacy", isolation: "shared" });
  const both = { servers: [at("rest", rest), at("gone", gone)], policies: [everything()] };
  await using other = await start(both);
  const alice = await other.place.key("alice");
  expect((await other.call("gone__give", {}, alice)).text).toContain(uri);
  other.place.configure({ ...both, servers: [at("rest", rest)] });
  expect(await other.place.cli(["config", "reload"])).toMatchObject({ code: 0 });
  const read = (wanted: string) =>
    other.post(request("resources/read", { uri: wanted }), { key: alice, headers: v2025 });
  expect((await read("file:///other")).text).toContain("mine");
  expect((await read(uri)).text).toContain("Resource not found");
  expect(rest.of("resources/read").map(({ message }) => message.params?.["uri"])).toEqual(["file:///other"]);
});
