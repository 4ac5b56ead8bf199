import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type Daemon, fake, start } from "../support/daemon.ts";
import { connect, type Line } from "../support/sdk.ts";
import { modern } from "../support/wire.ts";

// Tools that a server shows only to some: official clients whose call switches one on in their own instance of it, and a
// client that can be asked something.

setDefaultTimeout(20_000);

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

const lines: readonly Line[] = ["1.x", "2.x legacy", "2.x modern"];

test.each(lines)("R2: client %s is told of the tool, finds it and calls it, and nobody else does", async (line) => {
  const at = lines.indexOf(line);
  const url = `${daemon.url}/mcp`;
  const key = await daemon.place.key(`user-${at}`);
  await using client = await connect(line, { url, key });
  await using other = await connect(line, { url, key: await daemon.place.key(`other-${at}`) });
  const names = async (of: typeof client) => (await of.tools()).map(({ name }) => name);
  const told = Promise.withResolvers<void>();
  const othersTold: string[] = [];
  client.onToolsChanged(told.resolve);
  other.onToolsChanged(() => void othersTold.push("changed"));
  expect(await names(client)).not.toContain("fake__pester");
  await client.call("fake__switch", { tools: [extra] });
  expect(await names(client)).toContain("fake__pester");
  // This one opens no stream to listen.
  if (line !== "2.x modern") await told.promise;
  expect(JSON.stringify(await client.call("fake__pester", { times: 0 }))).toContain("done");
  expect(await names(other)).not.toContain("fake__pester");
  expect(JSON.stringify(await other.call("mcpgw__list_tools", { server: "fake" }))).not.toContain("pester");
  const refused = await other.call("fake__pester", { times: 0 }).then(JSON.stringify, String);
  expect(refused).toContain("Unknown tool");
  expect(othersTold).toEqual([]);
});

test("R2: what only clients with roots are shown can be called by one that never listed it", async () => {
  const key = await daemon.place.key("caller");
  const calls = async (capabilities: object) => {
    const meta = { "io.modelcontextprotocol/clientCapabilities": capabilities };
    const { body, headers } = modern("tools/call", { name: "shy__with-roots", arguments: {} }, { meta });
    const { text } = await daemon.post(body, { key, headers });
    return [text.includes("Unknown tool"), daemon.place.calls("shy").length];
  };
  expect(await calls({})).toEqual([true, 0]);
  expect(await calls({ roots: {} })).toEqual([false, 1]);
});
