import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport as TransportV1 } from "@modelcontextprotocol/sdk/shared/transport.js";
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from "@modelcontextprotocol/client";
import { type Daemon, everything, fake, start } from "../support/daemon.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { initialize, modern, pick, resultOf, toolCall } from "../support/wire.ts";

// What extensions add to the messages of a legacy client and of its servers, in both directions.

// Processes are started and ended throughout; on a busy machine that takes its time.
setDefaultTimeout(20_000);

const acme = "com.acme/thing";
const knows = { extensions: { [acme]: { level: 1 } } };

let daemon: Daemon;
let keys: Record<"alice" | "bob" | "carol", string>;

beforeAll(async () => {
  const declared = ["--extension", acme];
  daemon = await start({
    servers: [
      fake("a", declared),
      fake("b", declared),
      fake("shared", declared, { isolation: "shared" }),
      fake("plain"),
      fake("modern", [...declared, "--era", "modern"]),
    ],
    rules: [{ id: "no-secrets", input: `${acme}/secret`, action: "deny" }],
    policies: [everything(), { id: "tools-only", roles: ["tools"], rules: [{ tool: "*", action: "allow" }] }],
  });
  const [alice, bob] = [await daemon.place.key("alice"), await daemon.place.key("bob")];
  keys = { alice, bob, carol: await daemon.place.key("carol", "tools") };
});
afterAll(() => daemon[Symbol.asyncDispose]());

/** A client on standard streams that has declared this. */
async function connect(capabilities: object, who: keyof typeof keys = "alice"): Promise<StdioClient> {
  const client = new StdioClient(daemon.place, { MCPGW_API_KEY: keys[who] });
  const { params, ...open } = initialize(undefined, "open");
  client.send({ ...open, params: { ...params, capabilities } });
  await client.answer("open");
  return client;
}

/** What an official client heard, and ways to use it. */
type Peer = AsyncDisposable & {
  call(name: string, args?: Record<string, unknown>): Promise<unknown>;
  notify(method: string, params: Record<string, unknown>): Promise<void>;
};
type Handler = (request: { method: string; params?: unknown }) => Promise<Record<string, unknown>>;

/** An official client that answers what no revision of MCP knows by `handler`. */
async function official(line: "1.x" | "2.x legacy", handler: Handler): Promise<Peer> {
  const self = { name: "sdk-test", version: "1" };
  const url = new URL(`${daemon.url}/mcp`);
  const init = { requestInit: { headers: { Authorization: `Bearer ${keys.alice}` } } };
  if (line === "1.x") {
    const client = new ClientV1(self, { capabilities: knows });
    client.fallbackRequestHandler = handler;
    // The library's own transports miss its interface under exactOptionalPropertyTypes.
    await client.connect(new HttpV1(url, init) as TransportV1);
    return {
      call: (name, args = {}) => client.callTool({ name, arguments: args }),
      notify: (method, params) => client.notification({ method, params } as never), // its types know its own only
      [Symbol.asyncDispose]: () => client.close(),
    };
  }
  const client = new ClientV2(self, { capabilities: knows, versionNegotiation: { mode: "legacy" } });
  client.fallbackRequestHandler = handler;
  await client.connect(new HttpV2(url, init));
  return {
    call: (name, args = {}) => client.callTool({ name, arguments: args }),
    notify: (method, params) => client.notification({ method, params }),
    [Symbol.asyncDispose]: () => client.close(),
  };
}

const recordsAfter = async (before: number) => (await daemon.place.records()).slice(before);
const count = async (): Promise<number> => (await daemon.place.records()).length;
const asked = (method: string) => (message: unknown) => pick(message, "method") === method;

describe("what a server asks of its client", () => {
  const pick1 = { method: `${acme}/pick`, params: { from: [1.5, "x"] } };

  test("is put to a client that declared the extension, and its answer to the server; both are on record", async () => {
    const before = await count();
    await using client = await connect(knows);
    client.send(toolCall("a__ask", pick1, "call"));
    const question = await client.got(asked(pick1.method));
    expect(question).toMatchObject({ params: pick1.params });
    client.send({ jsonrpc: "2.0", id: pick(question, "id"), result: { picked: "x" } });
    expect(resultOf(await client.answer("call"))).toEqual({ result: { picked: "x" } });
    const steps = (await recordsAfter(before)).filter(({ type }) => type === "call.input");
    expect(steps).toMatchObject([
      { srv: "a", facts: { asks: pick1.method, outcome: "asked" } },
      { srv: "a", facts: { asks: pick1.method, outcome: "accept" } },
    ]);
  });

  test.each(["1.x", "2.x legacy"] as const)("is answered by the official client %s over HTTP", async (line) => {
    await using client = await official(line, async ({ method, params }) => ({ method, params }));
    const result = resultOf({ result: await client.call("a__ask", pick1) });
    expect(result).toEqual({ result: pick1 });
  });

  test("is withdrawn with its call, and forbidden by guardrails over input", async () => {
    await using client = await connect(knows);
    client.send(toolCall("a__ask", pick1, "call"));
    const id = pick(await client.got(asked(pick1.method)), "id");
    client.send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "call" } });
    expect(await client.got(asked("notifications/cancelled"))).toMatchObject({ params: { requestId: id } });
    const before = await count();
    const refused = resultOf(await client.call("a__ask", { method: `${acme}/secret` }));
    expect(refused).toMatchObject({ error: { code: -1, message: expect.stringContaining("no-secrets") } });
    const steps = (await recordsAfter(before)).filter(({ type }) => type === "call.input");
    expect(steps).toMatchObject([{ rule: "no-secrets", facts: { outcome: "refused" } }]);
  });

  test.each([
    ["the client did not declare it", { elicitation: {} }, "a__ask", pick1.method],
    ["the server did not declare it", knows, "plain__ask", pick1.method],
    ["it is of tasks", { extensions: { "io.modelcontextprotocol/tasks": {} } }, "a__ask", "tasks/get"],
    ["it is of another extension", knows, "a__ask", "com.acme/other"],
    ["it is a request of clients", { extensions: { "com.acme/tools": {} } }, "a__ask", "tools/list"],
  ])("is refused where %s", async (_, capabilities, tool, method) => {
    await using client = await connect(capabilities);
    const answer = resultOf(await client.call(tool, { method }));
    expect(answer).toMatchObject({ error: { code: -32601 } });
    expect(client.messages.all.some(asked(method))).toBe(false);
  });

  test("is refused where the client is of 2026-07-28, whose revision has no such questions", async () => {
    await using client = new StdioClient(daemon.place, { MCPGW_API_KEY: keys.alice });
    const meta = { "io.modelcontextprotocol/clientCapabilities": { ...knows, elicitation: {} } };
    client.send(modern("tools/call", { name: "a__ask", arguments: pick1 }, { id: 1, meta }).body);
    expect(resultOf(await client.answer(1))).toMatchObject({ error: { code: -32601 } });
  });
});
