import { afterEach, describe, expect, test } from "bun:test";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { WebSocketClientTransport } from "@modelcontextprotocol/sdk/client/websocket.js";
import type { Transport as TransportV1 } from "@modelcontextprotocol/sdk/shared/transport.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
  ToolListChangedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { Client as ClientV2, StreamableHTTPClientTransport as HttpV2 } from "@modelcontextprotocol/client";
import type { Call, Reply } from "../../src/core/call.ts";
import { Door, said } from "../support/front-door.ts";
import { textOf } from "../support/upstream.ts";
import { until } from "../support/until.ts";

// The official clients, unchanged, on all their transports: they call, are asked, are told of changes, are cut off.

const self = { name: "sdk-test", version: "1" };
const capabilities = { elicitation: {}, sampling: {}, roots: { listChanged: true } };
const requestInit = (key: string) => ({ requestInit: { headers: { Authorization: `Bearer ${key}` } } });

/** The tests for all of them. */
type Peer = { call(name: string): Promise<string>; readonly told: string[]; close(): Promise<void> };
type Connect = (door: Door, key: string) => Promise<Peer>;

const textIn = (result: unknown): string => textOf({ text: JSON.stringify(result) } as Reply); // of a reply it reads the text

async function v1(transport: unknown): Promise<Peer> {
  const client = new ClientV1(self, { capabilities });
  const told: string[] = [];
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => ({
    action: "accept",
    content: { said: params.message },
  }));
  client.setRequestHandler(CreateMessageRequestSchema, async ({ params }, { _meta: meta, sendNotification }) => {
    if (meta?.progressToken !== undefined) {
      const { progressToken } = meta;
      await sendNotification({ method: "notifications/progress", params: { progressToken, progress: 1 } });
    }
    return { model: "m", role: "assistant", content: { type: "text", text: String(params.maxTokens) } };
  });
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///r" }] }));
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void told.push(String(params.data)));
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => void told.push("tools"));
  // The library's transports do not match its own interface under exactOptionalPropertyTypes.
  await client.connect(transport as TransportV1);
  return {
    told,
    call: async (name) => textIn(await client.callTool({ name })),
    close: () => client.close(),
  };
}

async function v2(door: Door, key: string): Promise<Peer> {
  const client = new ClientV2(self, { capabilities, versionNegotiation: { mode: "legacy" } });
  const told: string[] = [];
  client.setRequestHandler("elicitation/create", ({ params }) => ({
    action: "accept",
    content: { said: params.message },
  }));
  client.setRequestHandler("sampling/createMessage", async ({ params }, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    if (progressToken !== undefined)
      await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress: 1 } });
    return { model: "m", role: "assistant", content: { type: "text", text: String(params.maxTokens) } };
  });
  client.setRequestHandler("roots/list", () => ({ roots: [{ uri: "file:///r" }] }));
  client.setNotificationHandler("notifications/message", ({ params }) => void told.push(String(params.data)));
  client.setNotificationHandler("notifications/tools/list_changed", () => void told.push("tools"));
  await client.connect(new HttpV2(new URL(`${door.url}/mcp`), requestInit(key)));
  return {
    told,
    call: async (name) => textIn(await client.callTool({ name })),
    close: () => client.close(),
  };
}

const realWebSocket = globalThis.WebSocket;
afterEach(() => void (globalThis.WebSocket = realWebSocket));

/** The library cannot send a header with its WebSocket; Bun's can. */
function withKey(key: string): void {
  globalThis.WebSocket = class extends realWebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, { headers: { authorization: `Bearer ${key}` }, protocols } as never); // Bun's own second parameter
    }
  } as typeof WebSocket; // a subclass is one
}

const transports: Record<string, Connect> = {
  "1.x over streamable HTTP": (door, key) => v1(new HttpV1(new URL(`${door.url}/mcp`), requestInit(key))),
  "2.x over streamable HTTP": v2,
  "R65: 1.x over the old HTTP+SSE pair": (door, key) =>
    v1(new SSEClientTransport(new URL(`${door.url}/sse`), requestInit(key))),
  "R98: 1.x over a WebSocket": (door, key) => {
    withKey(key);
    return v1(new WebSocketClientTransport(new URL(`${door.url.replace("http", "ws")}/ws`)));
  },
};

const elicitation = (message: string) =>
  `{"message":${JSON.stringify(message)},"requestedSchema":{"type":"object","properties":{"said":{"type":"string"}}}}`;

const tools: Record<string, (call: Call) => Promise<Reply>> = {
  async ask(call) {
    const kinds = [
      ["elicitation/create", elicitation("name?")],
      ["sampling/createMessage", '{"messages":[],"maxTokens":7}'],
      ["roots/list", "{}"],
    ] as const;
    const answers: string[] = [];
    for (const [method, params] of kinds) {
      const progress = (text: string): void => void answers.push(`progress ${JSON.parse(text).progress}`);
      const answer = await call.ask?.({ method, params, progress }, call.controller.signal);
      answers.push(`${answer?.kind} ${answer?.text}`);
    }
    return said(answers.join("\n"));
  },
  async log(call) {
    call.emit?.('{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}');
    return said("logged");
  },
  async whoami(call) {
    const id = String(call.who?.id);
    const answer = await call.ask?.({ method: "elicitation/create", params: elicitation(id) }, call.controller.signal);
    return said(`${id} ${answer?.text}`);
  },
};

const play = () => new Door((call) => tools[call.route?.name ?? ""]?.(call) ?? said("hello"));

describe.each(Object.keys(transports))("%s", (name) => {
  const connect = transports[name] as Connect;

  test("is served, asked for everything it declared, and its answers come back", async () => {
    await using door = play();
    const peer = await connect(door, "alice");
    expect(await peer.call("plain")).toBe("hello");
    expect((await peer.call("ask")).split("\n")).toEqual([
      'result {"action":"accept","content":{"said":"name?"}}',
      "progress 1",
      'result {"model":"m","role":"assistant","content":{"type":"text","text":"7"}}',
      'result {"roots":[{"uri":"file:///r"}]}',
    ]);
    expect(await peer.call("log")).toBe("logged");
    await until(() => peer.told.includes("working"), "the log message");
    await peer.close();
  });

  test("R112: hears of changed lists", async () => {
    await using door = play();
    const peer = await connect(door, "alice");
    await until(() => door.notifier.size === 1, "it to listen");
    door.shown = "2";
    door.notifier.changed();
    await until(() => peer.told.includes("tools"), "the change");
    await peer.close();
    await until(() => door.traffic.streams === 0, "its streams to end");
    door.sessions.endAll("shutdown");
    expect(door.notifier.size).toBe(0);
  });

  test("T42, S30: a stranger does not get in, and a lost key ends what is open", async () => {
    await using door = play();
    expect(
      await connect(door, "").then(
        () => "in",
        () => "refused",
      ),
    ).toBe("refused");
    const peer = await connect(door, "bob");
    await until(() => door.notifier.size === 1, "it to listen");
    door.who("bob").revoke();
    await until(() => door.traffic.streams === 0, "its streams to end");
    expect(
      await peer.call("plain").then(
        () => "served",
        () => "refused",
      ),
    ).toBe("refused");
    await peer.close();
  });

  test("S20: 64 of them, all counting their ids from the same start, asked at once, get their own answers", async () => {
    await using door = play();
    const peers = await Promise.all(
      Array.from({ length: 64 }, async (_, n) => {
        const key = `k${n % 4}`;
        return { key, peer: await connect(door, key) };
      }),
    );
    const wrong: string[] = [];
    await Promise.all(
      peers.map(async ({ key, peer }) => {
        for (let round = 0; round < 5; round++) {
          const got = await peer.call("whoami");
          if (got !== `key:${key} {"action":"accept","content":{"said":"key:${key}"}}`) wrong.push(got);
        }
      }),
    );
    expect(wrong).toEqual([]);
    expect(door.traffic).toMatchObject({ stray: 0, asked: 0 });
    await Promise.all(peers.map(({ peer }) => peer.close()));
  }, 20_000);
});

test("a client that tries OAuth after a 401 shows its user that the API key is what was wrong", async () => {
  await using door = play();
  const authProvider = {
    redirectUrl: "http://127.0.0.1/callback",
    clientMetadata: { redirect_uris: ["http://127.0.0.1/callback"] },
    clientInformation: () => undefined,
    saveClientInformation: () => {},
    tokens: () => undefined,
    saveTokens: () => {},
    redirectToAuthorization: () => {},
    saveCodeVerifier: () => {},
    codeVerifier: () => "",
  };
  const transport = new HttpV1(new URL(`${door.url}/mcp`), { ...requestInit(""), authProvider });
  const shown = await v1(transport).catch(String);
  expect(shown).toContain("the API key is missing or not valid");
});
