import { expect, setDefaultTimeout, test } from "bun:test";
import { everything, fake, Place, start } from "../support/daemon.ts";
import { StdioClient } from "../support/stdio-client.ts";

// Processes are started and ended throughout; on a busy machine that takes its time.
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
