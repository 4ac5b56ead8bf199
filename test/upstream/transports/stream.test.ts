import { expect, test } from "bun:test";
import { type AbortSignalLike, Withdrawn } from "../../../src/core/cancel.ts";
import type { ClientAnswer } from "../../../src/core/inbound.ts";
import { subscriptionIdKey } from "../../../src/mcp/meta.ts";
import { rejectionOf } from "../../support/failure.ts";
import {
  discovers,
  event,
  events,
  isCall,
  listening,
  type Message,
  opens,
  openStream,
  reply,
  serve,
  type Stream,
  text,
  told,
} from "../../support/mcp-server.ts";
import { principal } from "../../support/principal.ts";
import { http, listed, paramsOf, textOf, upstreams } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

const withSession = (message: Message): Response | null =>
  message.method === "initialize" ? opens(message.id, crypto.randomUUID()) : null;
const answer = (id: unknown): string => event({ jsonrpc: "2.0", id, result: text("ok") });
const progress = (progressToken: unknown, progress: number, message?: string): string =>
  told("notifications/progress", { progressToken, progress, message });

test("a stream that ends before its answer is resumed by GET after the retry time of the server", async () => {
  let id: unknown;
  let asked = 0;
  let resumed = 0;
  let after: string | null = null;
  using server = serve((message, request) => {
    const last = request.headers.get("last-event-id");
    if (last !== null) {
      resumed = performance.now();
      after = last;
      return events(`id: e3\n${progress(String(id), 2)}`, `id: e4\n${answer(id)}`);
    }
    if (!isCall(message)) return withSession(message);
    ({ id } = message);
    asked = performance.now();
    // The priming event: an id and no data.
    return events("id: e1\nretry: 120\ndata:\n\n", `id: e2\n${progress(id, 1)}`);
  });
  await using set = upstreams([http("a", server.url, { getStream: "off" })]);
  const seen: string[] = [];
  expect(textOf(await set.ask("a", "t", {}, { token: "7", emit: (one) => void seen.push(one) }))).toBe("ok");
  expect(seen.map((one) => paramsOf(one).progress)).toEqual([1, 2]);
  expect(after as string | null).toBe("e2");
  expect(resumed - asked).toBeGreaterThan(100);
  expect(server.of("tools/call").length).toBe(1);
});

test("a stream that never delivers its answer is resumed five times; one without event ids is never resumed", async () => {
  using server = serve((message, request) => {
    if (request.headers.has("last-event-id")) return events("");
    if (!isCall(message)) return withSession(message);
    return events(message.params?.["name"] === "ids" ? "id: e1\nretry: 1\ndata:\n\n" : ": nothing\n\n");
  });
  await using set = upstreams([http("a", server.url, { getStream: "off" })]);
  expect((await rejectionOf(set.ask("a", "ids"))).code).toBe("lost");
  expect(server.gets().length).toBe(5);
  expect((await rejectionOf(set.ask("a", "none"))).code).toBe("lost");
  expect(server.gets().length).toBe(5);
});

test("a stream is resumed again after a refusal with 503, and not after one with 404", async () => {
  let id: unknown;
  let refuses = 503;
  using server = serve((message, request) => {
    if (request.headers.has("last-event-id")) {
      const resumes = server.gets().length > 1 && refuses === 503;
      return resumes ? events(answer(id)) : new Response("no", { status: refuses });
    }
    if (!isCall(message)) return withSession(message);
    ({ id } = message);
    return events("id: e1\nretry: 1\ndata:\n\n");
  });
  await using set = upstreams([http("a", server.url, { getStream: "off" })]);
  expect(textOf(await set.ask("a", "t"))).toBe("ok");
  expect(server.gets().length).toBe(2);
  refuses = 404;
  expect((await rejectionOf(set.ask("a", "t"))).code).toBe("lost");
  expect(server.gets().length).toBe(3);
});

test("a call may have run if its server cannot be reached when its stream is resumed", async () => {
  using server = serve((message, request) => {
    // From now on it refuses connections.
    if (request.headers.has("last-event-id")) server[Symbol.dispose]();
    return isCall(message) ? events("id: e1\nretry: 1\ndata:\n\n") : withSession(message);
  });
  await using set = upstreams([http("a", server.url, { getStream: "off" })]);
  const { code, message } = await rejectionOf(set.ask("a", "t"));
  expect([code, message]).toEqual(["lost", expect.stringContaining("The call may have run")]);
});

test("a call that is cancelled while its stream is being resumed ends at once", async () => {
  using server = serve((message) => {
    if (!isCall(message)) return withSession(message);
    return events("id: e1\nretry: 60000\ndata:\n\n");
  });
  await using set = upstreams([http("a", server.url, { getStream: "off" })]);
  const controller = new AbortController();
  const failed = rejectionOf(set.ask("a", "t", {}, { controller }));
  await until(() => server.of("tools/call").length === 1, "the call");
  controller.abort();
  expect((await failed).code).toBe("cancelled");
});

const refused: [string, () => Response | Promise<Response>, number][] = [
  ["405", () => new Response(null, { status: 405 }), 1],
  ["404", () => new Response(null, { status: 404 }), 1],
  ["200 without a stream", () => Response.json({}), 1],
  ["an answer that never comes", () => new Promise<Response>(() => {}), 1],
];
test.each(refused)(
  "FIELD T24: a server that answers GET with %s is still connected and called",
  async (_, get, times) => {
    using server = serve((message, request) => (request.method === "GET" ? get() : withSession(message)));
    await using set = await listed([http("a", server.url, { isolation: "shared" })]);
    expect(set.status()[0]?.state).toBe("ready");
    expect(textOf(await set.ask("a", "t"))).toBe("ok");
    expect(server.gets().length).toBe(2 * times);
    expect(set.status()[0]?.streams).toBe(0);
  },
);

test("a GET stream is not opened with getStream: off, nor without a session", async () => {
  using server = serve((message) => withSession(message));
  using sessionless = serve(() => null);
  await using set = upstreams([http("a", server.url, { getStream: "off" }), http("b", sessionless.url)]);
  await Promise.all([set.ask("a", "t"), set.ask("b", "t")]);
  expect([server.gets(), sessionless.gets()]).toEqual([[], []]);
});

test("a session's broken stream is resumed after its last event, even if the server has not noticed, and stays separate from calls", async () => {
  const open: Stream[] = [];
  const resumed: string[] = [];
  const answered: Message[] = [];
  using server = serve((message, request) => {
    const last = request.headers.get("last-event-id");
    if (last !== null && resumed.push(last) === 1) return new Response(null, { status: 409 });
    if (request.method === "GET") return openStream({ start: (one) => void open.push(one) });
    if (message.method === undefined && message.id !== undefined) answered.push(message);
    return withSession(message);
  });
  await using set = upstreams([http("a", server.url, { isolation: "shared" })]);
  await set.ask("a", "t");
  await until(() => open.length === 2, "both streams");
  open[1]?.enqueue(`retry: 10\nid: h1\n${told("notifications/message", { level: "info" })}`);
  open[1]?.enqueue(`id: h2\n${event({ jsonrpc: "2.0", id: 5, method: "roots/list" })}`);
  await until(() => answered.length === 1, "the refusal");
  expect(answered[0]).toMatchObject({ id: 5, error: { code: -32601 } });
  expect(set.notices).toMatchObject([{ method: "notifications/message", params: '{"level":"info"}', owner: null }]);
  open[1]?.close();
  await until(() => open.length === 3, "the stream to be opened again");
  expect(resumed).toEqual(["h2", "h2"]);
});

test("a session's stream with an oversized event is opened without resumption, which would repeat that event", async () => {
  const asked = new Map<string | null, (string | null)[]>();
  using server = serve((message, { method, headers }) => {
    if (method !== "GET") return withSession(message);
    const session = headers.get("mcp-session-id");
    const own = [...(asked.get(session) ?? []), headers.get("last-event-id")];
    asked.set(session, own);
    if (own.length === 1) return events("id: e1\nretry: 1\ndata:\n\n");
    return own.length === 2 ? events(`id: e2\n${told("x", "x".repeat(200_000))}`) : openStream({ start() {} });
  });
  await using set = await listed([http("a", server.url)], { result: 1_000 });
  await until(() => asked.values().next().value?.length === 3, "the third stream");
  expect([...asked.values()]).toEqual([[null, "e1", null]]);
  expect(set.status()[0]?.state).toBe("ready");
});

test("a question that the server withdraws is not answered", async () => {
  const asked = Promise.withResolvers<AbortSignalLike>();
  let stream: Stream | undefined;
  let id: unknown;
  const posted: Message[] = [];
  using server = serve((message) => {
    if (message.method === undefined) posted.push(message);
    if (!isCall(message)) return withSession(message);
    ({ id } = message);
    const body = openStream({ start: (one) => void (stream = one) });
    stream?.enqueue(event({ jsonrpc: "2.0", id: "q", method: "roots/list" }));
    return body;
  });
  await using set = upstreams([http("a", server.url, { getStream: "off" })]);
  const input = (_: unknown, signal: AbortSignalLike): Promise<ClientAnswer> => {
    asked.resolve(signal);
    return new Promise(() => {});
  };
  const call = set.ask("a", "t", {}, { session: "s", declares: { roots: {} }, input });
  const signal = await asked.promise;
  stream?.enqueue(told("notifications/cancelled", { requestId: "q", reason: "enough" }));
  await until(() => signal.aborted, "the question to be withdrawn");
  expect(signal.reason).toEqual(new Withdrawn("enough"));
  stream?.enqueue(event({ jsonrpc: "2.0", id, result: text("without it") }));
  expect(textOf(await call)).toBe("without it");
  expect(posted).toEqual([]);
});

test("FIELD T54: a modern server's listening stream is opened again when it ends, and the lists are read again", async () => {
  let tools = ["one"];
  const open: { id: unknown; stream: Stream }[] = [];
  using server = serve((message) => {
    const { method, id, params } = message;
    if (method === "server/discover") return discovers(id, { tools: { listChanged: true } });
    if (method === "tools/list")
      return reply(id, { tools: tools.map((name) => ({ name, inputSchema: { type: "object" } })) });
    if (method !== "subscriptions/listen") return method === "initialize" ? new Response(null, { status: 404 }) : null;
    return listening(id, params?.["notifications"], (stream) => open.push({ id, stream }));
  });
  await using set = await listed([http("a", server.url)]);
  await until(() => open.length === 1, "the listening request");
  expect(server.of("subscriptions/listen")[0]?.message.params?.["notifications"]).toEqual({ toolsListChanged: true });
  tools = ["one", "two"];
  open[0]?.stream.close();
  await until(() => set.listings()[0]?.tools.length === 2, "the new tool");
  expect(open.length).toBe(2);
  tools = ["three"];
  const _meta = { [subscriptionIdKey]: open[1]?.id };
  open[1]?.stream.enqueue(told("notifications/tools/list_changed", { _meta }));
  await until(() => set.listings()[0]?.tools[0]?.name === "three", "the changed list");
});

test("a small result is delivered, however many notifications come before it", async () => {
  using server = serve((call) => {
    if (!isCall(call)) return withSession(call);
    let left = 20;
    const chunk = progress(call.id, 1, "x".repeat(20_000)).repeat(50);
    return openStream({
      pull(stream) {
        if (left-- > 0) return stream.enqueue(chunk);
        stream.enqueue(answer(call.id));
        stream.close();
      },
    });
  });
  await using set = upstreams([http("a", server.url, { getStream: "off" })], { result: 64 * 1024 });
  let heard = 0;
  expect(textOf(await set.ask("a", "t", {}, { token: "1", emit: () => void heard++ }))).toBe("ok");
  expect(heard).toBe(1_000);
});

test.each(["JSON", "its own stream", "the session's stream"])(
  "S10 T14: an answer to another caller's call that arrives as %s is not accepted for that call",
  async (way) => {
    let hub: Stream | null = null;
    const waiting = Promise.withResolvers<{ id: unknown; stream: Stream }>();
    using server = serve(async ({ id, method, params }, { method: verb }) => {
      if (verb === "GET") {
        const start = (stream: Stream): void => {
          hub = stream;
          stream.enqueue(":\n\n");
        };
        return openStream({ start });
      }
      if (method === "initialize") return opens(id, crypto.randomUUID());
      if (method !== "tools/call") return null;
      if (params?.["name"] === "victim") return openStream({ start: (stream) => waiting.resolve({ id, stream }) });
      const forged = { jsonrpc: "2.0", id: (await waiting.promise).id, result: text("forged") };
      if (way === "JSON") return Response.json(forged);
      if (way === "its own stream") return events(event(forged));
      hub?.enqueue(event(forged));
      return reply(id, text("ok"));
    });
    await using set = upstreams([http("a", server.url, { isolation: "shared" })]);
    await set.settled();
    const victim = set.ask("a", "victim", {}, { who: principal("alice") });
    const { id, stream } = await waiting.promise;
    await until(() => set.status()[0]?.streams === 2, "the session's stream, besides that of the gateway's own");
    await set.ask("a", "forger", {}, { who: principal("bob") }).catch(() => null);
    await until(() => (set.status()[0]?.dropped ?? 0) > 0, "the forged answer to be dropped");
    stream.enqueue(event({ jsonrpc: "2.0", id, result: text("true") }));
    expect(textOf(await victim)).toBe("true");
  },
);
