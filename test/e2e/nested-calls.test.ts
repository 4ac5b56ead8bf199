import { expect, setDefaultTimeout, test } from "bun:test";
import { fake, Place, servesParent } from "../support/daemon.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { reply, serve } from "../support/mcp-server.ts";
import { until } from "../support/until.ts";
import { pick, textOf } from "../support/wire.ts";

// Calls through `mcpgw__call`: the caller receives what it would receive for a direct call.

// The tests start and stop many processes, which takes long on a busy machine.
setDefaultTimeout(30_000);

const config = {
  auth: servesParent,
  servers: [fake("fake")],
  policies: [{ id: "all", roles: ["user"], rules: [{ server: "mcpgw", action: "allow" }, { action: "allow" }] }],
};
const hang = { tool: "fake:hang", arguments: {} };
const runs = (place: Place) => until(() => place.calls("fake").includes("hang"), "the inner call runs");

/** Returns how the inner and the outer call ended, in this order. */
const ends = async (place: Place) =>
  (await place.records()).filter(({ type }) => type === "call.end").map(({ tool, st }) => [tool, st]);

/** Opens a client and lists its tools, which waits for the server; naming an inner call does not. */
async function opened(place: Place): Promise<StdioClient> {
  await using running = new AsyncDisposableStack();
  const client = running.use(new StdioClient(place));
  await client.open();
  await client.ask("tools/list");
  running.move();
  return client;
}

test("R27, T42: a freeze ends the inner and the outer call alike", async () => {
  using place = new Place(config);
  await using daemon = await place.start();
  const hung = daemon.call("mcpgw__call", hang, await place.key("leaver"));
  await runs(place);
  await place.json("keys", "freeze");
  const { status, json } = await hung;
  const message = "All callers were frozen while the call ran. The call may have run: check before you repeat it.";
  expect([status, pick(json, "error")]).toEqual([401, { code: -31401, message }]);
  expect(await ends(place)).toEqual([
    ["hang", "cancelled"],
    ["call", "cancelled"],
  ]);
});

test("R27: a call that its client cancels is not answered", async () => {
  using place = new Place(config);
  await using client = await opened(place);
  void client.call("mcpgw__call", hang, "hung");
  await runs(place);
  client.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "hung" } });
  await until(async () => (await ends(place)).length === 2, "both ends are durable");
  expect(await client.ask("ping")).toMatchObject({ result: {} });
  expect(client.lines.filter((line) => line.includes('"hung"'))).toEqual([]);
  expect(await ends(place)).toEqual([
    ["hang", "cancelled"],
    ["call", "cancelled"],
  ]);
});

test("R27, SEMANTICS 2: when the gateway stops, both calls are lost", async () => {
  using place = new Place(config);
  await using client = await opened(place);
  const hung = client.call("mcpgw__call", hang);
  await runs(place);
  client.child.kill("SIGTERM");
  expect(textOf(await hung)).toBe("The gateway is stopping. The call may have run: check before you repeat it.");
  expect(await client.child.exited).toBe(0);
  expect(await ends(place)).toEqual([
    ["hang", "lost"],
    ["call", "lost"],
  ]);
});

test("R27, T21: arguments given as text are refused before they are parsed if they are nested too deep", async () => {
  using place = new Place(config);
  await using client = await opened(place);
  const refused = await client.call("mcpgw__call", { tool: "fake:echo", arguments: `{"a":${"[".repeat(65)}` });
  expect(textOf(refused)).toBe("The message is nested deeper than 64 levels; flatten it.");
});

test("R27, FIELD T13: links and limit details are the same as in a direct call", async () => {
  const link = { type: "resource_link", name: "listed", uri: "file:///listed" };
  using server = serve(({ id, method }) => {
    if (method === "initialize")
      return reply(id, { protocolVersion: "2025-11-25", capabilities: { tools: {}, resources: {} } });
    if (method === "tools/list") return reply(id, { tools: [{ name: "link", inputSchema: { type: "object" } }] });
    if (method === "resources/list") return reply(id, { resources: [{ name: "listed", uri: link.uri }] });
    return method === "tools/call" ? reply(id, { content: [link, { ...link, uri: "file:///not-listed" }] }) : null;
  });
  const limits = { perTool: [{ tool: "files:link", perMinute: 2 }] };
  using place = new Place({ ...config, servers: [{ id: "files", url: server.url }], limits });
  await using daemon = await place.start();
  const key = await place.key("user");
  const direct = async () => pick((await daemon.call("files__link", {}, key)).json, "result");
  const through = async () =>
    pick((await daemon.call("mcpgw__call", { tool: "files:link", arguments: {} }, key)).json, "result");
  const given = await through();
  expect(pick(given, "content.0.uri")).toBe(link.uri);
  expect(await direct()).toEqual(given);
  const limit = { code: "rate-limited", limit: expect.any(String), retryAfterMs: expect.any(Number) };
  for (const refused of [await direct(), await through()]) {
    expect(refused).toMatchObject({ isError: true, _meta: { "mcpgw.dev/limit": limit } });
  }
});
