import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type Daemon, everything, fake, start } from "../support/daemon.ts";
import { Seen } from "../support/seen.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { initialize, modern, pick, request, toolCall } from "../support/wire.ts";

// A client with one connection hears a server in the order in which it spoke, though answers wait for their records.

// Processes are started and ended throughout; on a busy machine that takes its time.
setDefaultTimeout(20_000);

const config = {
  servers: [
    fake("old", ["--rich"]),
    fake("new", ["--rich", "--era", "modern"]),
    fake("eager", ["--rich", "--mode", "updates-at-once"]),
  ],
  policies: [everything()],
};

let daemon: Daemon;
let key: string;

beforeAll(async () => {
  daemon = await start(config);
  key = await daemon.place.key("alice");
});
afterAll(() => daemon[Symbol.asyncDispose]());

const log = (data: unknown) => ({ jsonrpc: "2.0", method: "notifications/message", params: { level: "info", data } });
const logged = (message: unknown): unknown => pick(message, "params.data");
/** The ids of answers and the data of log messages, as they came. */
const told = (messages: readonly unknown[]): unknown[] =>
  messages.flatMap((message) => [pick(message, "id"), logged(message)].filter((one) => one !== undefined));

/** A client of a connection: `send` to it, and what has `got` here, in order. */
type Client = AsyncDisposable & { send(message: unknown): void; got: Seen<unknown> };

async function overStdio(): Promise<Client> {
  const client = new StdioClient(daemon.place, { MCPGW_API_KEY: key });
  return {
    send: (message) => client.send(message),
    got: client.messages,
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

async function overWebSocket(): Promise<Client> {
  const headers = { authorization: `Bearer ${key}` };
  const ws = new WebSocket(`${daemon.url.replace("http", "ws")}/ws`, { headers } as never); // Bun's own second parameter
  const got = new Seen<unknown>();
  ws.addEventListener("message", ({ data }) => got.push(JSON.parse(String(data))));
  await new Promise((resolve) => ws.addEventListener("open", resolve, { once: true }));
  return {
    send: (message) => ws.send(JSON.stringify(message)),
    got,
    [Symbol.asyncDispose]: async () => ws.close(),
  };
}

const answerTo = (id: unknown) => (message: unknown) => pick(message, "id") === id;

test.each([
  ["standard streams", overStdio],
  ["a WebSocket", overWebSocket],
])("%s: what a server says right after an answer comes after it, and before its next", async (_, open) => {
  await using client = await open();
  client.send(initialize(undefined, "open"));
  await client.got.first(answerTo("open"));
  const after = [log("a"), { jsonrpc: "2.0", method: "notifications/tools/list_changed" }, log("b")];
  client.send(toolCall("old__log", { after }, 1));
  client.send(toolCall("old__log", { after: [log("c")] }, 2));
  await client.got.first((message) => logged(message) === "c");
  expect(told(client.got.all)).toEqual(["open", 1, "a", "b", 2, "c"]);
});

test("an update of a resource comes after the answer to whom subscribes to it", async () => {
  await using client = await overStdio();
  client.send(initialize(undefined, "open"));
  await client.got.first(answerTo("open"));
  client.send(request("resources/subscribe", { uri: "mcpgw+eager:test://a" }, 1));
  await client.got.first((message) => pick(message, "method") === "notifications/resources/updated");
  expect(client.got.all.map((message) => pick(message, "id") ?? pick(message, "params.uri"))).toEqual([
    "open",
    1,
    "mcpgw+eager:test://a",
  ]);
});

test.each(["new", "old"])("2026-07-28: what it listens to at %s comes after the answer before it", async (server) => {
  await using client = await overStdio();
  // A call that may ask its caller something is answered in rounds where the server is an old one.
  const meta = { "io.modelcontextprotocol/clientCapabilities": { elicitation: {} } };
  const notifications = { resourceSubscriptions: [`mcpgw+${server}:test://a`] };
  client.send(modern("subscriptions/listen", { notifications }, { id: "l", meta }).body);
  await client.got.first((message) => pick(message, "method") === "notifications/subscriptions/acknowledged");
  const args = { method: "notifications/resources/updated", params: { uri: "test://a" }, late: true };
  client.send(modern("tools/call", { name: `${server}__announce`, arguments: args }, { id: 1, meta }).body);
  await client.got.first((message) => pick(message, "method") === "notifications/resources/updated");
  expect(client.got.all.map((message) => pick(message, "id") ?? pick(message, "method"))).toEqual([
    "notifications/subscriptions/acknowledged",
    1,
    "notifications/resources/updated",
  ]);
});
