import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type Daemon, fake, start } from "../support/daemon.ts";
import { connect, lines } from "../support/sdk.ts";
import { modern, request } from "../support/wire.ts";

// Tools that a server shows only to some callers: official clients whose call enables one in their own instance, and a
// client that can be asked questions.

setDefaultTimeout(30_000);

let daemon: Daemon;
beforeAll(async () => {
  const rules = [
    { server: "mcpgw", tool: "audit_all", action: "deny" },
    { server: "mcpgw", action: "allow" },
    { tool: "*", action: "allow" },
  ];
  daemon = await start({
    servers: [fake("fake"), fake("shy", ["--mode", "roots"])],
    policies: [{ id: "all", roles: ["user"], rules }],
  });
});
afterAll(() => daemon[Symbol.asyncDispose]());

const extra = { name: "pester", inputSchema: { type: "object" } };

test.each(lines)("R2: client %s is notified of the tool, finds and calls it, but no other client", async (line) => {
  const at = lines.indexOf(line);
  const url = `${daemon.url}/mcp`;
  const key = await daemon.place.key(`user-${at}`);
  await using client = await connect(line, { url, key });
  await using other = await connect(line, { url, key: await daemon.place.key(`other-${at}`) });
  const names = async (of: typeof client) => (await of.tools()).map(({ name }) => name);
  const told = Promise.withResolvers<void>();
  const othersTold: string[] = [];
  client.on("notifications/tools/list_changed", () => told.resolve());
  other.on("notifications/tools/list_changed", () => void othersTold.push("changed"));
  expect(await names(client)).not.toContain("fake__pester");
  await client.call("fake__switch", { tools: [extra] });
  expect(await names(client)).toContain("fake__pester");
  // This client opens no stream to listen.
  if (line !== "2.x modern") await told.promise;
  expect(JSON.stringify(await client.call("fake__pester", { times: 0 }))).toContain("done");
  expect(await names(other)).not.toContain("fake__pester");
  expect(JSON.stringify(await other.call("mcpgw__list_tools", { server: "fake" }))).not.toContain("pester");
  const refused = await other.call("fake__pester", { times: 0 }).then(JSON.stringify, String);
  expect(refused).toContain("Unknown tool");
  expect(othersTold).toEqual([]);
});

test("R2: a tool for clients with roots can be called by a client with roots that never listed it, and by no other", async () => {
  const key = await daemon.place.key("caller");
  const calls = async (capabilities: object, name = "shy__with-roots", args = {}) => {
    const meta = { "io.modelcontextprotocol/clientCapabilities": capabilities };
    const { body, headers } = modern("tools/call", { name, arguments: args }, { meta });
    const { text } = await daemon.post(body, { key, headers });
    return [text.includes("Unknown tool"), daemon.place.calls("shy").length];
  };
  expect(await calls({})).toEqual([true, 0]);
  expect(await calls({ roots: {} })).toEqual([false, 1]);
  expect(await calls({})).toEqual([true, 1]);
  for (const tool of ["shy:with-roots", "shy__with-roots"])
    expect(await calls({}, "mcpgw__call", { tool, arguments: {} })).toEqual([true, 1]);
  expect(await calls({ roots: {} }, "mcpgw__call", { tool: "shy:with-roots", arguments: {} })).toEqual([false, 2]);
});

const declares = { elicitation: {} };

/** Returns how a client that can be asked sends a request. */
async function sender(era: "legacy" | "modern", key: string) {
  if (era === "modern")
    return (method: string, params: Record<string, unknown>) => {
      const { body, headers } = modern(method, params, {
        meta: { "io.modelcontextprotocol/clientCapabilities": declares },
      });
      return daemon.post(body, { key, headers });
    };
  const headers = await daemon.session(key, "2025-11-25", { capabilities: declares });
  return (method: string, params: Record<string, unknown>) => daemon.post(request(method, params), { key, headers });
}

test.each(["legacy", "modern"] as const)(
  "R27: list_tools and call of a %s client treat the tool like tools/list and tools/call",
  async (era) => {
    const key = await daemon.place.key(`through-${era}`);
    const send = await sender(era, key);
    const call = async (name: string, args: object) => (await send("tools/call", { name, arguments: args })).text;
    const through = (tool: string, args: object) => call("mcpgw__call", { tool, arguments: args });
    expect(await through("fake:pester", { times: 0 })).toContain("Unknown tool: fake:pester");
    expect(await through("fake:switch", { tools: [extra] })).toContain("switched");
    expect(await through("fake:pester", { times: 0 })).toContain("done");
    expect(await call("fake__pester", { times: 0 })).toContain("done");
    expect((await send("tools/list", {})).text).toContain("fake__pester");
    for (const [tool, args] of [
      ["list_tools", { server: "fake" }],
      ["server_status", { id: "fake" }],
    ] as const)
      expect(await call(`mcpgw__${tool}`, args)).toContain("fake:pester");
    const stranger = await daemon.call("mcpgw__call", { tool: "fake:pester", arguments: { times: 0 } }, key);
    expect(stranger.text).toContain("Unknown tool: fake:pester");
    const records = (await daemon.place.records()).filter(({ consumer, tool }) =>
      [`through-${era}`, "pester"].every((each) => [consumer, tool].includes(each)),
    );
    expect(records.filter(({ type }) => type === "call.end")).toMatchObject(Array(2).fill({ srv: "fake", st: "ok" }));
  },
);

test("R88: the command line shows the tool to the key that may call it, and calls it by its wire name", async () => {
  const key = await daemon.place.key("operator");
  await daemon.call("fake__switch", { tools: [extra] }, key);
  const run = async (...args: string[]) => (await daemon.place.cli(args, { env: { MCPGW_API_KEY: key } })).stdout;
  expect(await run("tools", "list", "--json")).toContain('"fake:pester"');
  expect(await run("tools", "call", "fake__pester", "times=0")).toContain("done");
  expect((await daemon.place.cli(["tools", "list", "--json"])).stdout).not.toContain("pester");
});
