import { afterEach, describe, expect, test } from "bun:test";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { WebSocketClientTransport } from "@modelcontextprotocol/sdk/client/websocket.js";
import type { Call, Reply } from "../../src/core/call.ts";
import { Door, hang, said } from "../support/front-door.ts";
import { connect as connectHttp, connectV1, type Part, type Peer } from "../support/sdk.ts";
import { until } from "../support/until.ts";
import { textIn } from "../support/wire.ts";

// The unmodified official clients on all their transports.

const requestInit = (key: string) => ({ requestInit: { headers: { Authorization: `Bearer ${key}` } } });

const part: Part = {
  capabilities: { elicitation: {}, sampling: {}, roots: { listChanged: true } },
  async answer(method, { message, maxTokens }, progress) {
    if (method === "elicitation/create") return { action: "accept", content: { said: message } };
    if (method === "roots/list") return { roots: [{ uri: "file:///r" }] };
    await progress(1);
    return { model: "m", role: "assistant", content: { type: "text", text: String(maxTokens) } };
  },
};

const call = async (peer: Peer, name: string): Promise<string> => textIn(await peer.call(name));

const realWebSocket = globalThis.WebSocket;
afterEach(() => void (globalThis.WebSocket = realWebSocket));

/** The library cannot send a header with its WebSocket, but Bun's WebSocket can. */
function withKey(key: string): void {
  globalThis.WebSocket = class extends realWebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, { headers: { authorization: `Bearer ${key}` }, protocols } as never); // Bun's own second parameter
    }
  } as typeof WebSocket; // a subclass is one
}

const transports: Record<string, (door: Door, key: string) => Promise<Peer>> = {
  "1.x over streamable HTTP": (door, key) => connectHttp("1.x", { url: `${door.url}/mcp`, key }, part),
  "2.x over streamable HTTP": (door, key) => connectHttp("2.x legacy", { url: `${door.url}/mcp`, key }, part),
  "R65: 1.x over HTTP+SSE of 2024-11-05": (door, key) =>
    connectV1(new SSEClientTransport(new URL(`${door.url}/sse`), requestInit(key)), part),
  "R98: 1.x over a WebSocket": (door, key) => {
    withKey(key);
    return connectV1(new WebSocketClientTransport(new URL(`${door.url.replace("http", "ws")}/ws`)), part);
  },
};

const elicitation = (message: string) =>
  `{"message":${JSON.stringify(message)},"requestedSchema":{"type":"object","properties":{"said":{"type":"string"}}}}`;

const tools: Record<string, (asked: Call) => Promise<Reply>> = {
  async ask({ ask, controller }) {
    const kinds = [
      ["elicitation/create", elicitation("name?")],
      ["sampling/createMessage", '{"messages":[],"maxTokens":7}'],
      ["roots/list", "{}"],
    ] as const;
    const answers: string[] = [];
    for (const [method, params] of kinds) {
      const progress = (text: string): void => void answers.push(`progress ${JSON.parse(text).progress}`);
      const answer = await ask?.({ method, params, progress }, controller.signal);
      answers.push(`${answer?.kind} ${answer?.text}`);
    }
    return said(answers.join("\n"));
  },
  async log({ emit }) {
    emit?.('{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}');
    return said("logged");
  },
  async whoami({ ask, controller, who }) {
    const id = String(who?.id);
    const answer = await ask?.({ method: "elicitation/create", params: elicitation(id) }, controller.signal);
    return said(`${id} ${answer?.text}`);
  },
};

const play = () => new Door((asked) => tools[asked.route?.name ?? ""]?.(asked) ?? said("hello"));

describe.each(Object.keys(transports))("%s", (name) => {
  const connect = transports[name] as (typeof transports)[string];

  test("the client can call tools, is asked for everything it declared, and its answers arrive", async () => {
    await using door = play();
    const peer = await connect(door, "alice");
    expect(await call(peer, "plain")).toBe("hello");
    expect((await call(peer, "ask")).split("\n")).toEqual([
      'result {"action":"accept","content":{"said":"name?"}}',
      "progress 1",
      'result {"model":"m","role":"assistant","content":{"type":"text","text":"7"}}',
      'result {"roots":[{"uri":"file:///r"}]}',
    ]);
    const told: unknown[] = [];
    peer.on("notifications/message", ({ data }) => void told.push(data));
    expect(await call(peer, "log")).toBe("logged");
    await until(() => told.includes("working"), "the log message");
    await peer.close();
  });

  test("R112: the client is notified of changed lists", async () => {
    await using door = play();
    const peer = await connect(door, "alice");
    await until(() => door.notifier.size === 1, "it to listen");
    const told = Promise.withResolvers<void>();
    peer.on("notifications/tools/list_changed", () => told.resolve());
    door.shown = "2";
    door.notifier.changed();
    await told.promise;
    await peer.close();
    await until(() => door.traffic.streams === 0, "its streams to end");
    door.sessions.endAll("shutdown");
    expect(door.notifier.size).toBe(0);
  });

  test("T42, S30: an unauthenticated client is refused, and revoking a key ends its open streams", async () => {
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
      await call(peer, "plain").then(
        () => "served",
        () => "refused",
      ),
    ).toBe("refused");
    await peer.close();
  });

  test("S20: 64 clients with the same request ids, asked at the same time, each get their own answers", async () => {
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
          const got = await call(peer, "whoami");
          if (got !== `key:${key} {"action":"accept","content":{"said":"key:${key}"}}`) wrong.push(got);
        }
      }),
    );
    expect(wrong).toEqual([]);
    expect(door.traffic).toMatchObject({ stray: 0, asked: 0 });
    await Promise.all(peers.map(({ peer }) => peer.close()));
  }, 30_000);
});

// The 1.x library treats a stream that ended without a result as one that was cut off.
test.each(["refuse", "hang"])(
  "FIELD T43: a client that resumes a call without a result is told not to reconnect: %s",
  async (name) => {
    await using door = new Door(async (asked) => {
      asked.emit?.('{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}');
      if (name === "hang") return hang(asked);
      return { kind: "error", era: "legacy", code: -32603, text: '{"code":-32603,"message":"refused"}' };
    });
    const back = Promise.withResolvers<number>();
    const fetching = async (url: string | URL, init?: RequestInit): Promise<Response> => {
      const response = await fetch(url, init);
      if (new Headers(init?.headers).has("last-event-id")) back.resolve(response.status);
      return response;
    };
    const peer = await connectV1(
      new HttpV1(new URL(`${door.url}/mcp`), { ...requestInit("alice"), fetch: fetching }),
      part,
    );
    const controller = new AbortController();
    peer.on("notifications/message", () => void (name === "hang" && controller.abort("enough")));
    const ended = peer.call(name, {}, { signal: controller.signal }).then(String, String);
    expect(await ended).toContain(name === "hang" ? "enough" : "refused");
    expect(await back.promise).toBe(204);
    await peer.close();
  },
);

test("a client that tries OAuth after a 401 shows its user that the API key was the problem", async () => {
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
  const shown = await connectV1(transport).catch(String);
  expect(shown).toContain("the API key is missing or not valid");
});
