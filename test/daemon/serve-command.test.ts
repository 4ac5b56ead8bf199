import { expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { farewell } from "../../src/control/messages.ts";
import { everything, fake, Place, start } from "../support/daemon.ts";
import { mcpgw } from "../support/mcpgw.ts";
import { linesOf } from "../support/seen.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { initialize, modern, pick, request, toolCall } from "../support/wire.ts";

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = { auth: { type: "api-key" }, servers: [fake("fake")], policies: [everything()] };

test("a client that is not served is told why as the answer to what it asks, attached and alone", async () => {
  await using daemon = await start(config);
  using alone = new Place(config);
  for (const [place, why] of [
    [daemon.place, "The API key is not valid."],
    [alone, "MCPGW_API_KEY: The API key is not valid."],
  ] as const) {
    await using client = new StdioClient(place, { MCPGW_API_KEY: "nonsense" });
    // A client that finds out the era asks first, and tries the handshake when it is refused.
    client.send({ jsonrpc: "2.0", id: 1, method: "server/discover", params: {} });
    client.send({ jsonrpc: "2.0", method: "notifications/initialized" });
    client.send({ jsonrpc: "2.0", id: "two", method: "initialize", params: {} });
    // It ends whether or not its client has closed its standard input.
    expect(await client.child.exited).toBe(1);
    const error = { code: -32603, message: why };
    expect(client.lines.map((line): unknown => JSON.parse(line))).toEqual([
      { jsonrpc: "2.0", id: 1, error },
      { jsonrpc: "2.0", id: "two", error },
    ]);
    expect(await client.stderr).toEndWith(`mcpgw: ${why}\n`);
  }
});

test("a call is owed its answer though its client counts as the questions do that it is asked", async () => {
  await using daemon = await start(config);
  await using client = new StdioClient(daemon.place, { MCPGW_API_KEY: await daemon.place.key("agent") });
  const isQuestion = (message: unknown) => pick(message, "method") === "roots/list";
  const ask = (id: string | number) =>
    client.send(request("tools/call", { name: "fake__ask", arguments: { method: "roots/list" } }, id));
  client.send(initialize("2025-11-25", "open", { roots: {} }));
  await client.answer("open");
  client.send({ jsonrpc: "2.0", method: "notifications/initialized" });
  ask("first");
  const id = Number(pick(await client.got(isQuestion), "id")) + 1;
  ask(id);
  await client.got((message) => isQuestion(message) && pick(message, "id") === id);
  daemon.child.kill("SIGKILL");
  const ended = await client.got((message) => pick(message, "error") !== undefined && pick(message, "id") === id);
  expect(ended).toMatchObject({ error: { message: expect.stringContaining("The call may have run") } });
});

test("R22: two calls under one id are both answered where the client closes its own end behind them, as scripts do", async () => {
  await using daemon = await start(config);
  await using client = new StdioClient(daemon.place, { MCPGW_API_KEY: await daemon.place.key("agent") });
  await client.open();
  const second = daemon.place.path("second");
  client.send(toolCall("fake__echo", {}, 1));
  client.send(toolCall("fake__slow", { file: second }, 1));
  const exited = client.end();
  await client.answer(1);
  writeFileSync(second, "");
  expect(await exited).toBe(0);
  await client.read;
  expect(client.lines.filter((line) => pick(JSON.parse(line), "id") === 1)).toHaveLength(2);
});

test("R22: it says on standard error that requests are given up when the client closes its end, beside a daemon and alone", async () => {
  const stdio = { consumerId: "local", roles: ["user"] };
  const policies = [everything(), everything("admin")];
  const vouched = { ...config, policies, auth: { ...config.auth, stdio } };
  await using daemon = await start(vouched);
  using alone = new Place(vouched);
  for (const place of [daemon.place, alone])
    for (const tool of ["hang", "echo"]) {
      await using client = new StdioClient(place);
      await client.open();
      client.send(toolCall(`fake__${tool}`, {}, 1));
      expect(await client.end()).toBe(0);
      expect((await client.stderr).includes("requests that were not answered yet were given up")).toBe(tool === "hang");
    }
});

test("R22: it ends when its standard input fails, as where its client died with answers unread, beside a daemon and alone", async () => {
  const vouched = { ...config, auth: { ...config.auth, stdio: { consumerId: "local", roles: ["user"] } } };
  await using daemon = await start(vouched);
  using alone = new Place(vouched);
  for (const place of [daemon.place, alone]) {
    const directory = openSync(place.dir, "r");
    const command = [...mcpgw, "serve", ...place.flags()];
    const child = Bun.spawn(command, { env: place.env(), stdin: directory, stdout: "ignore", stderr: "pipe" });
    closeSync(directory);
    expect(await child.exited).toBe(1);
    expect(await child.stderr.text()).toContain("Standard input cannot be read any more: EISDIR");
  }
});

test("alone: who listens when a signal ends it is told so", async () => {
  using place = new Place({ auth: { stdio: { consumerId: "local", roles: ["user"] } }, policies: [everything()] });
  await using client = new StdioClient(place);
  client.send(modern("subscriptions/listen", { notifications: { toolsListChanged: true } }, { id: "l" }).body);
  await client.got((message) => pick(message, "method") === "notifications/subscriptions/acknowledged");
  client.child.kill("SIGTERM");
  expect(pick(await client.answer("l"), "result.resultType")).toBe("complete");
  expect(await client.child.exited).toBe(0);
});

test.each(["its client has gone", "a signal ends it"])(
  "beside a daemon: nobody waits for the end of a subscription when %s",
  async (why) => {
    await using daemon = await start({ ...config, servers: [] });
    await using client = new StdioClient(daemon.place, { MCPGW_API_KEY: await daemon.place.key("agent") });
    client.send(modern("subscriptions/listen", { notifications: { toolsListChanged: true } }, { id: "l" }).body);
    await client.got((message) => pick(message, "method") === "notifications/subscriptions/acknowledged");
    const begun = performance.now();
    if (why === "a signal ends it") client.child.kill("SIGTERM");
    else void client.end();
    expect(await client.child.exited).toBe(0);
    // An answer that is still owed would be waited for 2 s.
    expect(performance.now() - begun).toBeLessThan(2_000);
  },
);

test("beside a daemon: who asks to listen and closes its own end at once is told whether it may", async () => {
  await using daemon = await start({ ...config, servers: [] });
  const key = await daemon.place.key("agent");
  for (const [notifications, told] of [
    [{ toolsListChanged: true }, { method: "notifications/subscriptions/acknowledged" }],
    ["none", { id: "l", error: { code: -32602 } }],
  ] as const) {
    await using client = new StdioClient(daemon.place, { MCPGW_API_KEY: key });
    client.send(modern("subscriptions/listen", { notifications }, { id: "l" }).body);
    expect(await client.end()).toBe(0);
    await client.read;
    expect(client.lines.map((line): unknown => JSON.parse(line))).toMatchObject([told]);
  }
});

test.each([true, false])(
  "T49: what its client sent last is refused though it has no id (daemon: %p)",
  async (beside) => {
    const vouched = {
      ...config,
      servers: [],
      auth: { ...config.auth, stdio: { consumerId: "local", roles: ["user"] } },
    };
    using place = new Place(vouched);
    await using _daemon = beside ? await place.start() : null;
    const key = await place.key("agent");
    for (const last of ["{not json", '"text"', '{"jsonrpc":"2.0","method":"notifications/x","params":[]}']) {
      await using client = new StdioClient(place, { MCPGW_API_KEY: key });
      await client.open();
      client.send(last);
      expect(await client.end()).toBe(0);
      await client.read;
      expect(client.lines.map((line): unknown => JSON.parse(line))).toContainEqual(
        expect.objectContaining({ id: null, error: expect.anything() }),
      );
    }
  },
);

test("D15: a daemon of an older version, which refuses that its client has sent everything, is told so once", async () => {
  using place = new Place(config);
  const fixture = [join(import.meta.dir, "../fixtures/older-daemon.ts"), join(place.state, "control.sock")];
  await using daemon = Bun.spawn([process.execPath, ...fixture], { stdin: "pipe" });
  const told = linesOf(daemon.stdout);
  expect((await told.next()).value).toBe("ready");
  await using client = new StdioClient(place, { MCPGW_API_KEY: "k" });
  expect(await client.end()).toBe(0);
  await client.read;
  await daemon.stdin.end();
  expect([client.lines, await Array.fromAsync(told)]).toEqual([['{"refused":true}'], [farewell]]);
});
