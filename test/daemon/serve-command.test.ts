import { expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { farewell } from "../../src/control/messages.ts";
import { everything, fake, Place, start } from "../support/daemon.ts";
import { mcpgw } from "../support/mcpgw.ts";
import { linesOf } from "../support/seen.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { initialize, modern, pick, request, toolCall } from "../support/wire.ts";

// Many processes are started and ended, which is slow on a busy machine.
setDefaultTimeout(30_000);

const config = { auth: { type: "api-key" }, servers: [fake("fake")], policies: [everything()] };

test("a client that is not served gets the reason as the response to its requests, attached and embedded", async () => {
  await using daemon = await start(config);
  using alone = new Place(config);
  for (const [place, why] of [
    [daemon.place, "The API key is not valid."],
    [alone, "MCPGW_API_KEY: The API key is not valid."],
  ] as const) {
    await using client = new StdioClient(place, { MCPGW_API_KEY: "nonsense" });
    // A client that detects the protocol era sends a discovery request first, then tries the handshake.
    client.send({ jsonrpc: "2.0", id: 1, method: "server/discover", params: {} });
    client.send({ jsonrpc: "2.0", method: "notifications/initialized" });
    client.send({ jsonrpc: "2.0", id: "two", method: "initialize", params: {} });
    // It exits even if the client has not closed its standard input.
    expect(await client.child.exited).toBe(1);
    const error = { code: -32603, message: why };
    expect(client.lines.map((line): unknown => JSON.parse(line))).toEqual([
      { jsonrpc: "2.0", id: 1, error },
      { jsonrpc: "2.0", id: "two", error },
    ]);
    expect(await client.stderr).toEndWith(`mcpgw: ${why}\n`);
  }
});

test("a call still gets its response if its id equals that of a request from the server", async () => {
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

test("R22: two calls with the same id are both answered if the client closes its end after sending, as scripts do", async () => {
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

test("R22: abandoned requests are reported on standard error if the client closes its end, attached and embedded", async () => {
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
      expect((await client.stderr).includes("requests without a response were abandoned")).toBe(tool === "hang");
    }
});

test("R22: it exits if its standard input fails, as when its client dies, attached and embedded", async () => {
  const vouched = { ...config, auth: { ...config.auth, stdio: { consumerId: "local", roles: ["user"] } } };
  await using daemon = await start(vouched);
  using alone = new Place(vouched);
  for (const place of [daemon.place, alone]) {
    const directory = openSync(place.dir, "r");
    const command = [...mcpgw, "serve", ...place.flags()];
    const child = Bun.spawn(command, { env: place.env(), stdin: directory, stdout: "ignore", stderr: "pipe" });
    closeSync(directory);
    expect(await child.exited).toBe(1);
    expect(await child.stderr.text()).toContain("Standard input can no longer be read: EISDIR");
  }
});

test("embedded: a subscription is completed when a signal ends the process", async () => {
  using place = new Place({ auth: { stdio: { consumerId: "local", roles: ["user"] } }, policies: [everything()] });
  await using client = new StdioClient(place);
  client.send(modern("subscriptions/listen", { notifications: { toolsListChanged: true } }, { id: "l" }).body);
  await client.got((message) => pick(message, "method") === "notifications/subscriptions/acknowledged");
  client.child.kill("SIGTERM");
  expect(pick(await client.answer("l"), "result.resultType")).toBe("complete");
  expect(await client.child.exited).toBe(0);
});

test.each(["its client has gone", "a signal ends it"])(
  "attached: the process does not wait for open subscriptions when %s",
  async (why) => {
    await using daemon = await start({ ...config, servers: [] });
    await using client = new StdioClient(daemon.place, { MCPGW_API_KEY: await daemon.place.key("agent") });
    client.send(modern("subscriptions/listen", { notifications: { toolsListChanged: true } }, { id: "l" }).body);
    await client.got((message) => pick(message, "method") === "notifications/subscriptions/acknowledged");
    const begun = performance.now();
    if (why === "a signal ends it") client.child.kill("SIGTERM");
    else void client.end();
    expect(await client.child.exited).toBe(0);
    // It would wait 2 s for an outstanding response.
    expect(performance.now() - begun).toBeLessThan(2_000);
  },
);

test("attached: a client that subscribes and closes its end at once still gets the acknowledgement or the refusal", async () => {
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
  "T49: an invalid last message is refused even if it has no id (daemon: %p)",
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

test("D15: the farewell is sent only once to a daemon of an older version, which refuses it", async () => {
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
