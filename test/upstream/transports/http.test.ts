import { expect, test } from "bun:test";
import { rejectionOf } from "../../support/failure.ts";
import {
  discovers,
  event,
  events,
  isCall,
  type Message,
  openStream,
  refusal,
  reply,
  serve,
  serveBeginning,
  serveSessions,
  text,
} from "../../support/mcp-server.ts";
import { principal } from "../../support/principal.ts";
import { http, listed, textOf, upstreams } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

for (const status of [301, 302, 303, 307, 308]) {
  test(`S21, T19: a ${status} to another origin is not followed, and nothing reaches that origin`, async () => {
    using collector = serve(() => null);
    using server = serve((message) =>
      isCall(message) ? new Response(null, { status, headers: { location: collector.url } }) : null,
    );
    await using set = await listed([http("a", server.url, { headers: { "X-Api-Key": "secret" } })]);
    const failure = await rejectionOf(set.ask("a", "t"));
    expect(failure.code).toBe(status === 303 ? "upstream-protocol" : "upstream-down");
    expect(failure.message).toContain("redirects");
    expect(failure.message).toContain(status === 303 ? "may have run" : "did not run");
    expect(collector.seen).toEqual([]);
  });
}

test.each(["sse", "websocket"])("S21: %s does not follow redirects either", async (transport) => {
  using collector = serve(() => null);
  using server = serve(() => new Response(null, { status: 307, headers: { location: collector.url } }));
  const url = transport === "sse" ? server.url : server.url.replace("http", "ws");
  await using set = await listed([http("a", url, { transport, headers: { "X-Api-Key": "secret" } })]);
  expect(set.status()[0]?.state).toBe("backoff");
  expect(server.seen.length).toBe(1);
  expect(collector.seen).toEqual([]);
});

test.each([
  ["legacy", "2025-11-25", []],
  ["modern", "2026-07-28", ["mcp-method", "mcp-name"]],
] as const)(
  "S03: a %s server receives its configured headers and nothing from the caller",
  async (era, revision, more) => {
    using server = serve(({ method, id }) => (method === "server/discover" && era === "modern" ? discovers(id) : null));
    await using set = upstreams([http("a", server.url, { headers: { Authorization: "Bearer configured" } })]);
    await set.ask("a", "t", {}, { era });
    for (const { verb, headers } of server.seen) {
      expect([verb, headers.get("authorization")]).toEqual([verb, "Bearer configured"]);
      if (verb === "POST") expect(headers.get("accept")).toBe("application/json, text/event-stream");
    }
    const { headers } = server.of("tools/call")[0] ?? {};
    expect(headers?.get("mcp-protocol-version")).toBe(revision);
    expect(headers?.get("accept-encoding")).toBe("identity");
    const names = [...(headers?.keys() ?? [])].toSorted();
    const usual = ["accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"];
    expect(names.filter((name) => !usual.includes(name))).toEqual(
      ["authorization", "mcp-protocol-version", ...more].toSorted(),
    );
  },
);

const statuses: [number, string, string][] = [
  [401, "upstream-down", "credentials"],
  [403, "upstream-down", "credentials"],
  [404, "upstream-down", "nothing speaks MCP"],
  [429, "upstream-overloaded", "429"],
  [431, "invalid-arguments", "shorten the argument that a header mirrors. The call did not run."],
  [500, "upstream-protocol", "HTTP 500: oh no \\u{1b}[31m"],
  [503, "upstream-overloaded", "503"],
  [204, "upstream-protocol", "no JSON-RPC answer"],
];
test.each(statuses)("R61, T19: HTTP %i is reported as %s", async (status, code, words) => {
  using server = serve((message) =>
    isCall(message) ? new Response(status === 204 ? null : `oh no \x1b[31m${"x".repeat(5_000)}`, { status }) : null,
  );
  await using set = await listed([http("a", server.url)]);
  const failure = await rejectionOf(set.ask("a", "t"));
  expect(failure.code).toBe(code as typeof failure.code);
  expect(failure.message).toContain(words);
  expect(failure.message.length).toBeLessThan(500);
});

test("T19: an answer that is not JSON, answers another request, or has a wrong type is a protocol error", async () => {
  const bodies = [
    new Response("<html>", { headers: { "content-type": "text/html" } }),
    reply(999, text("foreign")),
    new Response("{", { headers: { "content-type": "application/json" } }),
  ];
  using server = serve((message) => (isCall(message) ? (bodies.pop() ?? null) : null));
  await using set = await listed([http("a", server.url)]);
  for (let i = 0; i < 3; i++) expect((await rejectionOf(set.ask("a", "t"))).code).toBe("upstream-protocol");
  expect(set.status()[0]?.dropped).toBeGreaterThan(0);
});

test("each principal has its own session, which ends with it", async () => {
  using server = serveSessions((message, session) => (isCall(message) ? reply(message.id, text(`${session}`)) : null));
  const set = await listed([http("a", server.url)]);
  const sessions = new Map<string, string>();
  for (const who of ["alice", "bob", "alice", "bob"]) {
    const session = textOf(await set.ask("a", "t", {}, { who: principal(who) }));
    expect(sessions.get(who) ?? session).toBe(session);
    sessions.set(who, session);
  }
  expect(new Set(sessions.values())).toEqual(new Set(["s2", "s3"]));
  await set.close(0);
  const ended = server.seen.filter(({ verb }) => verb === "DELETE").map(({ headers }) => headers.get("mcp-session-id"));
  expect(new Set(ended)).toEqual(new Set(["s1", "s2", "s3"]));
});

test("a session id that could inject a header is rejected", async () => {
  using server = serve((message) =>
    message.method === "initialize"
      ? reply(message.id, { protocolVersion: "2025-11-25" }, { "mcp-session-id": "a b" })
      : null,
  );
  await using set = await listed([http("a", server.url)]);
  expect(set.status()[0]?.reason).toContain("session id");
});

test("an answer with many values within limits.result is delivered", async () => {
  const rows = Array.from({ length: 20_000 }, (_, id) => ({ id, a: "x", b: null, c: true }));
  using server = serve((message) => (isCall(message) ? reply(message.id, { structuredContent: { rows } }) : null));
  await using set = await listed([http("a", server.url)]);
  expect(JSON.parse((await set.ask("a", "t")).text)).toEqual({ structuredContent: { rows } });
});

test("T13, T19: an answer whose declared length is too large is not read, and the limit applies to the result without its envelope", async () => {
  using endless = serveBeginning((id) => `{"jsonrpc":"2.0","id":${id},"result":{"x":"${"x".repeat(2 * 1024 ** 2)}`);
  using slightly = serve((message) => (isCall(message) ? reply(message.id, { x: "x".repeat(1024 ** 2) }) : null));
  for (const { url } of [endless, slightly]) {
    await using set = await listed([http("a", url)], { result: 1024 ** 2 });
    expect((await rejectionOf(set.ask("a", "t"))).code).toBe("result-too-large");
  }
});

test("T13: a stream whose event never ends is cut off", async () => {
  const chunk = "x".repeat(64 * 1024);
  using server = serve((message) => (isCall(message) ? openStream({ pull: (stream) => stream.enqueue(chunk) }) : null));
  await using set = await listed([http("a", server.url)], { result: 1024 ** 2 });
  expect((await rejectionOf(set.ask("a", "t"))).code).toBe("result-too-large");
});

test("a server's ping on a stream is answered, and its other requests are refused", async () => {
  const asked = (id: number, method: string): string => event({ jsonrpc: "2.0", id, method });
  using server = serve((message) => {
    if (!isCall(message)) return null;
    const answer = event({ jsonrpc: "2.0", id: message.id, result: text("ok") });
    return events(asked(70, "ping"), asked(71, "sampling/createMessage"), answer);
  });
  await using set = upstreams([http("a", server.url)]);
  expect(textOf(await set.ask("a", "t"))).toBe("ok");
  const posted = () => server.of("").map(({ message }) => message);
  await until(() => posted().length === 2, "both answers");
  expect(posted()).toContainEqual({ jsonrpc: "2.0", id: 70, result: {} } as Message);
  expect(posted()).toContainEqual(
    expect.objectContaining({ id: 71, error: expect.objectContaining({ code: -32601 }) }),
  );
});

test("S23: beyond 1024 calls in flight a server is overloaded, while another is not", async () => {
  const open: (() => void)[] = [];
  using server = serve((message) =>
    isCall(message)
      ? new Promise<Response>((resolve) => open.push(() => resolve(reply(message.id, text("ok")))))
      : null,
  );
  using other = serve(() => null);
  await using set = await listed([http("a", server.url, { isolation: "shared" }), http("b", other.url)]);
  const warm = set.ask("a", "t");
  await until(() => open.length === 1, "the first call");
  const calls = Array.from({ length: 1024 }, () =>
    set.ask("a", "t").then(
      () => "ok",
      (error) => String(error.code),
    ),
  );
  expect(await calls[1023]).toBe("overloaded");
  open.forEach((answer) => answer());
  expect(textOf(await warm)).toBe("ok");
  const rest = until(() => (open.forEach((answer) => answer()), set.status()[0]?.inFlight === 0), "all to be answered");
  expect((await Promise.all(calls)).filter((code) => code === "ok").length).toBe(1023);
  await rest;
  expect(textOf(await set.ask("b", "t"))).toBe("ok");
});

test("a modern server gets the mirrored headers, one connection for all callers, and no handshake", async () => {
  using server = serve((message) => {
    if (message.method === "initialize") return refusal(message.id, -32022, "unsupported", 400);
    if (message.method === "server/discover")
      return reply(message.id, { resultType: "complete", supportedVersions: ["2026-07-28"] });
    return null;
  });
  await using set = await listed([http("a", server.url)]);
  expect(set.status()[0]).toMatchObject({ era: "modern", revision: "2026-07-28" });
  const inputSchema = { type: "object", properties: { region: { type: "string", "x-mcp-header": "Region" } } };
  for (const who of ["alice", "bob"]) {
    await set.ask("a", "wäre", { region: "eu" }, { who: principal(who), inputSchema });
  }
  const calls = server.of("tools/call");
  const names = ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-region", "mcp-session-id"];
  const expected = ["2026-07-28", "tools/call", "=?base64?d8OkcmU=?=", "eu", null];
  expect(calls.map(({ headers }) => names.map((name) => headers.get(name)))).toEqual([expected, expected]);
  expect(calls[0]?.message.params).toMatchObject({
    name: "wäre",
    _meta: {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientCapabilities": {},
    },
  });
  // It was asked once whether it also speaks legacy.
  expect(server.of("initialize").length).toBe(1);
  expect(set.status()[0]?.instances).toBe(1);
});

test("a modern server receives a caller's capabilities, without tasks for a legacy caller", async () => {
  using server = serve(({ id, method }) => (method === "server/discover" ? discovers(id) : null));
  await using set = await listed([http("a", server.url, { protocol: "modern" })]);
  const more = { "com.acme/x": { n: 1 } };
  const declares = { own: 1, extensions: { ...more, "io.modelcontextprotocol/tasks": {} } };
  for (const era of ["modern", "legacy"] as const) await set.ask("a", "t", {}, { era, declares });
  const told = server.of("tools/call").map(({ message }) => message.params?.["_meta"]);
  const key = "io.modelcontextprotocol/clientCapabilities";
  expect(told).toMatchObject([{ [key]: declares }, { [key]: { own: 1, extensions: more } }]);
  expect(JSON.stringify(told[1])).not.toContain("tasks");
});

test("S13: a result of an undeclared type is refused, one of a declared extension is passed on", async () => {
  let type = "task";
  using server = serve((message) => {
    if (message.method === "initialize") return refusal(message.id, -32601, "no", 404);
    if (message.method === "server/discover") return discovers(message.id);
    return isCall(message) ? reply(message.id, { resultType: type, requestState: "x" }) : null;
  });
  await using set = await listed([http("a", server.url)]);
  expect((await rejectionOf(set.ask("a", "t"))).code).toBe("upstream-protocol");
  expect(
    await set.ask("a", "t", {}, { declares: { extensions: { "io.modelcontextprotocol/tasks": {} } } }),
  ).toMatchObject({ kind: "result", type: "task" });
  expect((await rejectionOf(set.ask("a", "t", {}, { declares: { extensions: {} } }))).code).toBe("upstream-protocol");
  type = "input_required";
  expect(await set.ask("a", "t")).toMatchObject({ kind: "result", type: "input_required" });
  type = "complete";
  expect(await set.ask("a", "t")).toMatchObject({ kind: "result", type: null });
});

test.each(["Application/JSON", "Text/Event-Stream; Charset=UTF-8"])(
  "a content type is recognized in upper and lower case: %s",
  async (type) => {
    using server = serve((message) => {
      if (!isCall(message)) return null;
      const answer = JSON.stringify({ jsonrpc: "2.0", id: message.id, result: text("ok") });
      const body = type.startsWith("Text") ? `data: ${answer}\n\n` : answer;
      return new Response(body, { headers: { "content-type": type } });
    });
    await using set = upstreams([http("a", server.url)]);
    expect(textOf(await set.ask("a", "t"))).toBe("ok");
  },
);

test("a bad answer is described in whole sentences, and a bad list without mentioning a call", async () => {
  const nested = `${"[".repeat(100)}${"]".repeat(100)}`;
  let result = `{"content":[],"structuredContent":${nested}}`;
  using server = serve((message) => {
    return message.method === "tools/list" ? refusal(message.id, -32603, "boom") : null;
  });
  await using set = await listed([http("a", server.url)]);
  expect(set.status()[0]?.reason).toBe("tools/list: boom");
  using busy = serve((message) => (message.method === "tools/list" ? new Response("", { status: 503 }) : null));
  await using waiting = await listed([http("c", busy.url)]);
  expect(waiting.status()[0]?.reason).toBe('The server "c" is overloaded: HTTP 503.');
  using other = serve((message) => {
    const body = `{"jsonrpc":"2.0","id":${String(message.id)},"result":${result}}`;
    return isCall(message) ? new Response(body, { headers: { "content-type": "application/json" } }) : null;
  });
  await using more = upstreams([http("b", other.url)]);
  const says = async (): Promise<string> => (await rejectionOf(more.ask("b", "t"))).message;
  const words = (what: string): string =>
    `The server "b" violated the protocol: its answer${what}. The call may have run: check before you repeat it.`;
  const much = (what: string): string => `The result of the server "b" is too large to read: ${what}.`;
  expect(await says()).toStartWith(much("The message is nested deeper than 64 levels (limits.depth)"));
  result = `{"structuredContent":{"a":[${"1,".repeat(2_200_000)}1]}}`;
  expect(await says()).toStartWith(much("The message holds more than 2097152 values (limits.nodes)"));
  result = '{"content":[],"content":[]}';
  expect(await says()).toBe(words(': The key "content" appears twice in one object'));
  result = "7";
  expect(await says()).toBe(words(" has a result that is not an object"));
});

test.each(["resources/read", "prompts/get", "tools/call"])(
  "only for methods with effects the error says that the call may have run: %s",
  async (method) => {
    using server = serve((message) => (message.method === method ? new Response("oh no", { status: 500 }) : null));
    await using set = await listed([http("a", server.url)]);
    const { message } = await rejectionOf(set.ask("a", "x", {}, { request: { method, edits: {} } }));
    const acts = method === "tools/call" ? " The call may have run: check before you repeat it." : "";
    expect(message).toBe(`The server "a" violated the protocol: HTTP 500: oh no.${acts}`);
  },
);
