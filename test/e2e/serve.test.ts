import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isRoot, canBecomeNobody, pidsWith } from "../support/processes.ts";
import { everything, fake, Place, servesParent, start } from "../support/daemon.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { until } from "../support/until.ts";
import { modern, pick, request, resultOf, textOf } from "../support/wire.ts";

// MCP on standard input and output, by an embedded gateway or by the daemon of the same state directory.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = { auth: servesParent, servers: [fake("fake")], policies: [everything()] };
const keyOnly = { ...config, auth: { type: "api-key" } };

test("R22, R126: alone: initialize, list, call, progress, cancel; each answer is one line, and everything is recorded", async () => {
  using place = new Place(config);
  await using client = new StdioClient(place);
  expect(await client.open()).toMatchObject({
    result: { protocolVersion: "2025-11-25", serverInfo: { name: "mcpgw" } },
  });
  const list = await client.ask("tools/list");
  expect((pick(list, "result.tools") as { name: string }[]).map(({ name }) => name)).toContain("fake__echo");
  const called = await client.call("fake__echo", { text: "two\nlines\u2028\r\u0000é" });
  expect(pick(resultOf(called), "args")).toEqual({ text: "two\nlines\u2028\r\u0000é" });
  client.send(request("tools/call", { name: "fake__progress", arguments: {}, _meta: { progressToken: "mine" } }, "p"));
  expect(textOf(await client.answer("p"))).toBe("done");
  const progress = client.lines
    .map((line): unknown => JSON.parse(line))
    .filter((message) => pick(message, "method") === "notifications/progress");
  expect(progress.map((message) => pick(message, "params"))).toMatchObject(
    [1, 2, 3].map((n) => ({ progressToken: "mine", progress: n })),
  );
  client.send(request("tools/call", { name: "fake__hang", arguments: {} }, "hung"));
  await until(() => place.calls("fake").includes("hang"), "the call runs");
  client.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "hung" } });
  await until(
    () => place.heard("fake").some(({ method }) => method === "notifications/cancelled"),
    "the server was told",
  );
  expect(await client.ask("ping")).toMatchObject({ result: {} });
  expect(client.lines.some((line) => line.includes('"hung"'))).toBe(false);
  expect(await client.end()).toBe(0);
  const records = await place.records();
  expect(records.find(({ type, tool }) => type === "call.begin" && tool === "echo")).toMatchObject({
    chain: "serve-1",
    consumer: "parent",
    src: "stdio",
    roles: ["user"],
  });
  expect(records.find(({ type, tool }) => type === "call.end" && tool === "hang")).toMatchObject({ st: "cancelled" });
  // The checkpoint that it signs at its end proves all records except its own.
  expect(await place.json("audit", "verify")).toMatchObject({ chains: [{ exit: 0, checkpoint: { after: 1 } }] });
});

test("R22: alone in the modern era: no handshake, and the pinned era stays", async () => {
  using place = new Place(config);
  await using client = new StdioClient(place);
  const ask = (method: string, params: Record<string, unknown>, id: string): Promise<unknown> => {
    client.send(modern(method, params, { id }).body);
    return client.answer(id);
  };
  expect(await ask("server/discover", {}, "d")).toMatchObject({
    result: { resultType: "complete", supportedVersions: expect.arrayContaining(["2026-07-28"]) },
  });
  expect(await ask("tools/call", { name: "fake__echo", arguments: { n: 1 } }, "c")).toMatchObject({
    result: { resultType: "complete" },
  });
  expect(await client.open()).toMatchObject({ error: { code: -32022 } });
});

test("T49, T20: an invalid message gets an error, and the connection stays usable", async () => {
  using place = new Place(config);
  await using client = new StdioClient(place);
  for (const line of [
    "{not json",
    "[]",
    '{"jsonrpc":"2.0","id":5}',
    "\u0000\u0001",
    '{"jsonrpc":"2.0","id":6,"method":"no/such"}',
  ])
    client.send(line);
  expect(await client.answer(6)).toMatchObject({ error: { code: -32601 } });
  await until(() => client.lines.length === 5, "all answers");
  const answers = client.lines.map((line) => [pick(JSON.parse(line), "id"), pick(JSON.parse(line), "error.code")]);
  expect(answers.map(String).toSorted()).toEqual([",-32600", ",-32700", ",-32700", "5,-32600", "6,-32601"]);
  expect(await client.open()).toMatchObject({ result: {} });
});

test.each([true, false])(
  "T20, T49: a line that is too long or not UTF-8 gets an error under its id, and the connection stays usable (daemon: %p)",
  async (daemon) => {
    using place = new Place({ ...config, limits: { body: "8KiB" }, policies: [everything(), everything("admin")] });
    await using _beside = daemon ? await place.start() : null;
    await using client = new StdioClient(place);
    client.send(`{"jsonrpc":"2.0","id":"long","method":"ping","params":{"x":"${"y".repeat(200_000)}"}}`);
    expect(await client.answer("long")).toMatchObject({ error: { code: -32600 } });
    // The limit counts bytes, three for each of these characters; the longer text is cut within a character.
    for (const count of [4_000, 80_000, 80_001]) {
      client.send(`{"jsonrpc":"2.0","id":${count},"method":"ping","params":{"x":"${"€".repeat(count)}"}}`);
      const message = "The message is longer than the 8192 bytes that limits.body allows.";
      expect(await client.answer(count)).toMatchObject({ error: { code: -32600, message } });
    }
    const bytes = Buffer.from('{"jsonrpc":"2.0","id":"bytes","method":"ping","params":{"x":"\u00ff"}}\n', "latin1");
    void client.child.stdin.write(bytes);
    void client.child.stdin.flush();
    expect(await client.answer("bytes")).toMatchObject({ error: { code: -32700 } });
    expect(await client.open()).toMatchObject({ result: {} });
  },
);

test.each([true, false])(
  "T20, R22: a call over the limits gets an error under an id that comes last, as the SDKs write it (daemon: %p)",
  async (daemon) => {
    using place = new Place({ ...config, policies: [everything(), everything("admin")] });
    await using _beside = daemon ? await place.start() : null;
    await using client = new StdioClient(place);
    const call = (name: string, args: string, id: string): void =>
      client.send(
        `{"method":"tools/call","params":{"name":"fake__${name}","arguments":${args}},"jsonrpc":"2.0","id":"${id}"}`,
      );
    const text = "x".repeat(100_000);
    call("echo", `{"text":"${text}","deep":${"[".repeat(80)}${"]".repeat(80)}}`, "deep");
    expect(await client.answer("deep")).toMatchObject({ error: { code: -32600 } });
    call("slow", `{"ms":200,"text":"${text}"}`, "last");
    // Requests sent before the client closed its end are awaited.
    expect(await client.end()).toBe(0);
    expect(textOf(await client.answer("last"))).toContain(text);
  },
);

// These end while a call runs and wait for what remains, so they run concurrently.
test.concurrent("T49: when the client closes its end, children are gone in 5 s, and the end of running calls is recorded", async () => {
  using place = new Place(config);
  await using client = new StdioClient(place);
  await client.open();
  client.send(request("tools/call", { name: "fake__hang", arguments: {} }, "hung"));
  await until(() => place.calls("fake").includes("hang"), "the call runs");
  const run = place.run("serve-1");
  expect(pidsWith(run).length).toBeGreaterThan(0);
  const from = performance.now();
  expect(await client.end()).toBe(0);
  expect(performance.now() - from).toBeLessThan(5000);
  expect(pidsWith(run)).toEqual([]);
  const records = await place.records();
  expect(records.filter(({ type }) => type === "call.end" || type === "call.lost")).toMatchObject([
    { type: "call.end", st: "cancelled" },
  ]);
});

test.concurrent("SEMANTICS 2: a call that a signal cuts off is told so, and that it may have run", async () => {
  using place = new Place(config);
  await using client = new StdioClient(place);
  await client.open();
  const hung = client.call("fake__hang");
  await until(() => place.calls("fake").includes("hang"), "the call runs");
  client.child.kill("SIGTERM");
  expect(textOf(await hung)).toBe("The gateway is stopping. The call may have run: check before you repeat it.");
  expect(await client.child.exited).toBe(0);
  const ends = (await place.records()).filter(({ type }) => type === "call.end");
  expect(ends).toMatchObject([{ st: "lost" }]);
});

test.concurrent("SEMANTICS 2: beside a daemon too a call that a signal cuts off is told that it may have run", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  await using client = new StdioClient(place, { MCPGW_API_KEY: await place.key("agent") });
  await client.open();
  const hung = client.call("fake__hang");
  await until(() => place.calls("fake").includes("hang"), "the call runs");
  client.child.kill("SIGTERM");
  const told = "The gateway is stopping. The call may have run: check before you repeat it.";
  expect(pick(await hung, "error.message")).toBe(told);
  expect(await client.child.exited).toBe(0);
});

test.concurrent("`serve` beside a daemon answers the calls that end when the daemon is killed, except cancelled ones", async () => {
  await using daemon = await start(config);
  const { place } = daemon;
  await using client = new StdioClient(place, { MCPGW_API_KEY: await place.key("agent") });
  await client.open();
  const hung = client.call("fake__hang");
  void client.call("fake__hang", {}, "a/b");
  await until(() => place.calls("fake").filter((tool) => tool === "hang").length === 2, "both calls run");
  client.send('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a\\/b"}}');
  await client.ask("ping");
  daemon.child.kill("SIGKILL");
  expect(pick(await hung, "error.message")).toBe(
    "The connection to the daemon ended before it answered. The call may have run: check before you repeat it.",
  );
  expect(await client.child.exited).toBe(1);
  expect(client.lines.some((line) => line.includes("a/b"))).toBe(false);
});

test.concurrent("T49: kill -9 of serve ends its children too; the next one records the lost calls", async () => {
  using place = new Place(config);
  await using client = new StdioClient(place);
  await client.open();
  client.send(request("tools/call", { name: "fake__hang", arguments: {} }, "hung"));
  await until(() => place.calls("fake").includes("hang"), "the call runs");
  client.child.kill("SIGKILL");
  await client.child.exited;
  const run = place.run("serve-1");
  await until(() => pidsWith(run).length === 0, "no child is left");
  await using next = new StdioClient(place);
  await next.open();
  await next.end();
  expect((await place.records()).filter(({ type }) => type === "call.lost")).toHaveLength(1);
});

test("the parent is identified by its key, else by auth.stdio, else refused; an invalid key does not fall back", async () => {
  using place = new Place(config);
  const key = await place.key("agent");
  {
    // As read from a file written by a Windows editor.
    await using client = new StdioClient(place, { MCPGW_API_KEY: `${key}\r\n` });
    await client.open();
    const env = resultOf(await client.call("fake__env")) as Record<string, string>;
    expect(env["MCPGW_API_KEY"]).toBeUndefined();
  }
  expect((await place.records()).find(({ type }) => type === "call.begin")).toMatchObject({ consumer: "agent" });
  const before = place.heard("fake").length;
  for (const wrong of [`${key}x`, "nonsense"]) {
    const ran = await place.cli(["serve"], { env: { MCPGW_API_KEY: wrong } });
    expect(ran).toMatchObject({ code: 1, stdout: "" });
    expect(ran.stderr).toContain("MCPGW_API_KEY");
    expect(ran.stderr).not.toContain(wrong);
  }
  const empty = await place.cli(["serve"], { env: { MCPGW_API_KEY: "" } });
  expect(empty).toMatchObject({
    code: 1,
    stdout: "",
    stderr: expect.stringContaining("MCPGW_API_KEY is set but empty"),
  });
  // The empty key is not recorded, as no gateway was asked.
  const failed = (await place.records()).filter(({ type }) => type === "auth.failed");
  expect(failed).toMatchObject([
    { src: "stdio", st: "auth-failed" },
    { src: "stdio", st: "auth-failed" },
  ]);
  place.configure(keyOnly);
  const nobody = await place.cli(["serve"], { stdin: `${JSON.stringify(request("ping"))}\n` });
  expect(nobody).toMatchObject({ code: 1, stderr: expect.stringContaining("auth.stdio") });
  expect(pick(JSON.parse(nobody.stdout), "error.message")).toContain("auth.stdio");
  // A caller that may not be served starts no server.
  expect(place.heard("fake")).toHaveLength(before);
});

/** An installation whose paths are only in its configuration file. */
class FileOnly extends Place {
  override flags(): string[] {
    return ["--config", this.config];
  }
}

test("D15: state and control.socket in the configuration file lead serve and the command line to the daemon", async () => {
  using place = new FileOnly(keyOnly);
  const socket = join(place.dir, "c.sock");
  const wherever = { ...keyOnly, state: place.state, control: { socket } };
  place.configure(wherever);
  await using _daemon = await place.start();
  const key = await place.key("agent");
  await using client = new StdioClient(place, { MCPGW_API_KEY: key });
  await client.open();
  expect(textOf(await client.call("fake__slow", { ms: 1 }))).toBe('{"ms":1}');
  expect((await place.records()).find(({ type }) => type === "call.begin")).toMatchObject({ chain: "main" });
  expect(existsSync(join(place.state, "audit/serve-1.db"))).toBe(false);
  place.configure("state: [");
  for (const args of [["status"], ["serve"], ["keys", "list"]]) {
    const ran = await place.cli(args, { env: { MCPGW_API_KEY: key } });
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toStartWith(`mcpgw: ${place.config}:1:9: `);
    expect(ran.stderr).toContain("name its socket with --socket");
  }
  expect((await place.cli(["status", "--socket", socket])).code).toBe(0);
});

test("D15: several that start at once on a new state directory write their own chains, read and verified together", async () => {
  using place = new Place(config);
  const count = 6;
  await using running = new AsyncDisposableStack();
  const clients = Array.from({ length: count }, () => running.use(new StdioClient(place)));
  await Promise.all(clients.map((client) => client.open()));
  await Promise.all(clients.map((client) => client.call("fake__echo")));
  expect(await Promise.all(clients.map((client) => client.end()))).toEqual(clients.map(() => 0));
  const begun = (await place.records()).filter(({ type }) => type === "call.begin");
  expect(begun.map(({ chain }) => chain).toSorted()).toEqual(clients.map((_, index) => `serve-${index + 1}`));
  const verified = await place.cli(["audit", "verify", "--json"]);
  expect(pick(JSON.parse(verified.stdout), "chains")).toHaveLength(count);
  expect(verified.code).toBe(0);
  expect(await place.json("usage", "parent")).toMatchObject({ rows: [{ name: "parent", calls: count }] });
});

test("R22, D15: beside a daemon it attaches: same chain, the key's rights, ended within 1 s by a revoke", async () => {
  await using daemon = await start(keyOnly);
  const { place } = daemon;
  const { id, key } = await place.newKey("agent");
  await using client = new StdioClient(place, { MCPGW_API_KEY: key });
  expect(await client.open()).toMatchObject({ result: { serverInfo: { name: "mcpgw" } } });
  expect(textOf(await client.call("fake__slow", { ms: 1 }))).toBe('{"ms":1}');
  const [begin] = (await place.records()).filter(({ type }) => type === "call.begin");
  expect(begin).toMatchObject({ chain: "main", consumer: "agent", src: "control" });
  await place.json("keys", "revoke", id);
  const from = performance.now();
  expect(await client.child.exited).toBe(1);
  expect(performance.now() - from).toBeLessThan(1000);
  const wrong = await place.cli(["serve"], { env: { MCPGW_API_KEY: key } });
  expect(wrong).toMatchObject({ code: 1, stdout: "" });
  expect(wrong.stderr).not.toContain(key);
  expect((await place.cli(["tools", "list"], { env: { MCPGW_API_KEY: key } })).code).toBe(1);
  const failed = (await place.records()).filter(({ type }) => type === "auth.failed");
  expect(failed).toMatchObject([{ src: "control", st: "auth-failed", count: 1 }]);
  expect(await (await fetch(`${daemon.url}/metrics`)).text()).toContain("mcp_gateway_auth_failures_total 2");
});

test("D15: attached without a key, the peer must be an administrator, and is recorded as one", async () => {
  const admin = { id: "admin-policy", roles: ["admin"], rules: [{ server: "fake", action: "allow" }] };
  await using daemon = await start({ ...keyOnly, policies: [admin] });
  await using client = new StdioClient(daemon.place);
  await client.open();
  await client.call("fake__echo");
  await client.end();
  expect(await client.stderr).toBe(
    "mcpgw: without MCPGW_API_KEY the caller is the local administrator, with the rights that policies give the role admin\n",
  );
  const unsure = await daemon.place.cli(["tools", "call", "fake:echo"], { env: { MCPGW_API_KEY: "" } });
  expect(unsure).toMatchObject({ code: 1, stdout: "" });
  const begin = (await daemon.place.records()).find(({ type }) => type === "call.begin");
  expect(begin).toMatchObject({ subj: `local:${process.getuid?.()}`, roles: ["admin"] });
});

test.skipIf(!canBecomeNobody)(
  "SEMANTICS 4: a socket that may not be used is exit 1, never an embedded gateway (needs setpriv as root)",
  async () => {
    await using daemon = await start(config);
    const { place } = daemon;
    place.becomeNobody();
    const ran = await place.cli(["serve"], { stdin: `${JSON.stringify(request("ping"))}\n` });
    place.prefix = [];
    expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining("permission denied for") });
    expect(pick(JSON.parse(ran.stdout), "error.message")).toStartWith("permission denied for");
    expect(new Set((await place.records()).map(({ chain }) => chain))).toEqual(new Set(["main"]));
  },
);

test.skipIf(isRoot && !canBecomeNobody)(
  "SEMANTICS 5: `serve` ignores a gateway.yaml in the directory where it is started (needs setpriv as root)",
  async () => {
    using place = new Place(config);
    place.becomeNobody();
    const ran = await place.bare(["serve", "--state", place.state]);
    expect(ran).toMatchObject({ code: 2, stdout: "", stderr: expect.stringContaining("no configuration found in") });
  },
);

/** Returns the outcome of a call, which may take long. */
async function fate(client: StdioClient): Promise<"refused" | "answered" | "silent"> {
  const answer = await Promise.race([client.call("fake__echo"), Bun.sleep(200)]);
  if (answer === undefined) return "silent";
  return pick(answer, "error") === undefined ? "answered" : "refused";
}

test.each([true, false])(
  "R23 T42: a key revoked beside an embedded gateway also ends there (daemon: %p)",
  async (daemon) => {
    using place = new Place(keyOnly);
    const { id, key } = await place.newKey("agent");
    await using client = new StdioClient(place, { MCPGW_API_KEY: key });
    await client.open();
    expect(pick(await client.call("fake__echo"), "error")).toBeUndefined();
    await using _beside = daemon ? await place.start() : null;
    await place.json("keys", "revoke", id);
    const from = performance.now();
    await until(async () => (await fate(client)) === "refused", "calls are refused");
    expect(performance.now() - from).toBeLessThan(1500);
  },
);

test("T42: a freeze beside an embedded gateway applies there too, until it is undone", async () => {
  using place = new Place(config);
  await using client = new StdioClient(place);
  await client.open();
  expect(await client.call("fake__echo")).toMatchObject({ result: {} });
  await place.json("keys", "freeze");
  await until(async () => (await fate(client)) === "refused", "calls are refused", 1500);
  const late = await place.cli(["serve"]);
  expect(late).toMatchObject({ code: 1, stdout: "" });
  expect(late.stderr).toContain("frozen");
  expect(late.stderr).not.toContain("MCPGW_API_KEY");
  await place.json("keys", "unfreeze");
  await until(async () => (await fate(client)) === "answered", "calls are let through", 1500);
});
