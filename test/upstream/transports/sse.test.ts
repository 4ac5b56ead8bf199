import { expect, test } from "bun:test";
import type { ClientAnswer, InputRequest } from "../../../src/core/inbound.ts";
import type { LinkHost, LinkRequest, Peer } from "../../../src/upstream/link/link.ts";
import { linkHost, linkRequest } from "../../support/link-host.ts";
import { openSse } from "../../../src/upstream/transports/sse.ts";
import { maxCourtesies } from "../../../src/upstream/http/wire.ts";
import { http, listed, textOf } from "../../support/upstream.ts";
import { type Message, openStream, type Stream, text } from "../../support/mcp-server.ts";
import { rejectionOf } from "../../support/failure.ts";
import { until } from "../../support/until.ts";

const peer: Peer = { era: "legacy", revision: "2024-11-05" };
const host: LinkHost = { ...linkHost, notified: () => true };
const requestFor = (method: string, timeout: number): LinkRequest =>
  linkRequest({ method, peer, timeout, most: timeout });

type Say = (message: Record<string, unknown>) => void;

/** An HTTP+SSE server for one client; the test answers each message that is POSTed. */
function serveOldPair(answer: (message: Message, say: Say, request: Request) => Response | Promise<Response>) {
  let stream: Stream | undefined;
  const send = (name: string, data: string): void => stream?.enqueue(`event: ${name}\ndata: ${data}\n\n`);
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    async fetch(request) {
      if (request.method === "GET") {
        const body = openStream({ start: (one) => void (stream = one) });
        send("endpoint", "/messages");
        return body;
      }
      const say: Say = (message) => send("message", JSON.stringify({ jsonrpc: "2.0", ...message }));
      return answer((await request.json()) as Message, say, request);
    },
  });
  return { url: server.url.href, [Symbol.dispose]: () => void server.stop(true) };
}

const accepted = (): Response => new Response(null, { status: 202 });

/** A server that answers requests at once and accepts nothing else; it sends this many pings before it answers. */
function deafServer(pings = 0) {
  const posted: (string | undefined)[] = [];
  const server = serveOldPair(({ id, method }, say) => {
    posted.push(method);
    if (id === undefined || method === undefined) return new Promise<Response>(() => {});
    for (let i = 0; i < pings; i++) say({ id: i, method: "ping" });
    say({ id, result: {} });
    return accepted();
  });
  return { ...server, posted };
}

test("a notification that the server never accepts delays later messages only for a limited time", async () => {
  using server = deafServer();
  const spec = { url: server.url, headers: {} };
  const link = openSse({ ...spec, courtesy: 300 }, host);
  expect(await link.request(requestFor("initialize", 2_000))).toMatchObject({ kind: "result" });
  void link.notify("notifications/initialized", null, peer);
  await until(() => server.posted.length === 2, "the notification");
  // The delayed call has not run, and its error says so.
  expect(await rejectionOf(link.request(requestFor("tools/call", 50)))).toMatchObject({ code: "overloaded" });
  expect(await link.request(requestFor("tools/list", 2_000))).toMatchObject({ kind: "result" });
  expect(server.posted).toEqual(["initialize", "notifications/initialized", "tools/list"]);
  await link.close();
});

test("T12: a stream that names no endpoint is reported as exactly that", async () => {
  using server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    fetch: () => openStream({ start: () => {} }),
  });
  const link = openSse({ url: server.url.href, headers: {} }, host);
  expect(await rejectionOf(link.request(requestFor("initialize", 50)))).toMatchObject({
    code: "upstream-down",
    detail: { internal: "its stream did not name an endpoint for messages" },
  });
  await link.close();
});

test("a server that sends pings without accepting the answers gets only a limited number at once", async () => {
  using server = deafServer(500);
  const link = openSse({ url: server.url, headers: {} }, host);
  expect(await link.request(requestFor("initialize", 2_000))).toMatchObject({ kind: "result" });
  await until(() => server.posted.length === 1 + maxCourtesies, "the answers");
  expect(await link.request(requestFor("tools/list", 2_000))).toMatchObject({ kind: "result" });
  expect(server.posted.filter((method) => method === undefined).length).toBe(maxCourtesies);
  await link.close();
});

test.each(["late", "never"] as const)(
  "after many progress notifications, the answer waits for the last one, if the server accepts them: %s",
  async (taken) => {
    const heard: unknown[] = [];
    const question = { id: "q", method: "elicitation/create", params: { _meta: { progressToken: "t" } } };
    using server = serveOldPair(async ({ id, method, params }, say) => {
      if (method === "initialize") say({ id, result: {} });
      else if (method === "tools/call") say(question);
      else if (method === "notifications/progress") {
        heard.push(params?.["progress"]);
        if (taken === "never") return new Promise<Response>(() => {});
        // Long enough for a second message to come in between.
        for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
      } else {
        heard.push("answer");
        say({ id: 2, result: {} });
      }
      return accepted();
    });
    const link = openSse({ url: server.url, headers: {} }, host);
    await link.request(requestFor("initialize", 2_000));
    const request = async ({ progress }: InputRequest): Promise<ClientAnswer> => {
      for (let n = 1; n <= 100; n++) progress?.(`{"progressToken":"ours","progress":${n}}`);
      return { kind: "result", text: "{}" };
    };
    const handlers = { progress: null, message: null, other: null, ask: request, askable: true };
    const call = { ...requestFor("tools/call", 4_000), purpose: { kind: "call", handlers, client: null } as const };
    expect(await link.request(call)).toMatchObject({ kind: "result" });
    expect(heard).toEqual(taken === "late" ? [1, 100, "answer"] : [1, "answer"]);
    await link.close();
  },
);

test.each([
  [404, "Not found"],
  [400, "no such message in this session"],
])("a refused notification or answer (%i %s) does not affect running calls", async (status, said) => {
  const ping = { id: "ping", method: "ping" };
  const refused = { told: 0, answers: 0 };
  using server = serveOldPair(({ id, method }, say) => {
    if (id !== undefined && method !== undefined) {
      say(method === "initialize" ? { id, result: {} } : ping);
      return accepted();
    }
    if (method === undefined) refused.answers++;
    else refused.told++;
    // The number of answers at once is limited, and notifications are sent one by one: the link has seen refusals of
    // both.
    if (refused.answers > maxCourtesies && refused.told > 1) say({ id: 2, result: {} });
    else if (method === undefined) say(ping);
    return new Response(said, { status });
  });
  const link = openSse({ url: server.url, headers: {} }, host);
  await link.request(requestFor("initialize", 2_000));
  const call = link.request(requestFor("tools/call", 4_000));
  for (let i = 0; i < 2; i++) void link.notify("notifications/cancelled", '{"requestId":1}', peer);
  expect(await call).toMatchObject({ kind: "result" });
  await link.close();
});

test("a call whose POST is cut off ends at once", async () => {
  const cut = (): ReadableStream => new ReadableStream({ pull: (one) => one.error(new Error("cut")) });
  using server = serveOldPair(() => new Response(cut(), { status: 400 }));
  const link = openSse({ url: server.url, headers: {} }, host);
  const { code } = await rejectionOf(link.request(requestFor("tools/call", 3_000)));
  expect(code).toMatch(/^(lost|upstream-down)$/);
  await link.close();
});

test("a call that is refused with an endless body ends soon, and so does its connection", async () => {
  const closed = Promise.withResolvers<void>();
  using server = serveOldPair(({ id, method }, say, request) => {
    if (method !== "initialize") {
      request.signal.addEventListener("abort", () => closed.resolve());
      return new Response(openStream({ start: (words) => words.enqueue("busy") }).body, { status: 503 });
    }
    say({ id, result: {} });
    return accepted();
  });
  const link = openSse({ url: server.url, headers: {} }, host);
  await link.request(requestFor("initialize", 2_000));
  expect(await rejectionOf(link.request(requestFor("tools/call", 4_000)))).toMatchObject({
    code: "upstream-overloaded",
  });
  await closed.promise;
  await link.close();
});

/**
 * An HTTP+SSE server; messages for a stream that it has forgotten are refused with `status`, or with 202 never
 * answered.
 */
function forgetfulServer(status: number) {
  const streams: Stream[] = [];
  let forgotten = 0;
  const results: Record<string, unknown> = {
    initialize: { protocolVersion: "2024-11-05", capabilities: {} },
    "tools/list": { tools: [] },
    "tools/call": text("ok"),
  };
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    async fetch(request) {
      const { pathname, searchParams } = new URL(request.url);
      if (request.method === "GET") {
        const data = `/messages?at=${streams.length}`;
        return openStream({
          start(one) {
            streams.push(one);
            one.enqueue(`event: endpoint\ndata: ${data}\n\n`);
          },
        });
      }
      if (pathname !== "/messages") return new Response(null, { status: 405 });
      const at = Number(searchParams.get("at"));
      const { id, method } = (await request.json()) as { id?: number; method: string };
      if (at < forgotten) return new Response(status === 202 ? null : "Session not found", { status });
      const answer = JSON.stringify({ jsonrpc: "2.0", id, result: results[method] ?? {} });
      if (id !== undefined) streams[at]?.enqueue(`event: message\ndata: ${answer}\n\n`);
      return new Response(null, { status: 202 });
    },
  });
  const forget = (): void => void (forgotten = streams.length);
  return { url: server.url.href, forget, [Symbol.dispose]: () => void server.stop(true) };
}

for (const transport of ["sse", "http"]) {
  test.each([404, 400, 202])(
    `FIELD T45: a server that forgets its stream (POST: %i) is connected again (transport: ${transport})`,
    async (status) => {
      using server = forgetfulServer(status);
      const options = http("a", server.url, { transport, timeout: "300ms" });
      await using set = await listed([{ ...options, healthCheck: 200 }]);
      const call = (): Promise<string> => set.ask("a", "t").then(textOf, ({ code }) => code);
      expect(await call()).toBe("ok");
      server.forget();
      expect(await call()).toBe(status === 202 ? "timeout" : "upstream-down");
      await until(async () => (await call()) === "ok", "the next connection");
    },
  );
}

test.each([
  [401, "it refuses the gateway's credentials (HTTP 401)"],
  [503, "HTTP 503"],
])("an HTTP+SSE stream that is answered with %i is reported with its meaning", async (status, reason) => {
  using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("no", { status }) });
  await using set = await listed([http("a", server.url.href, { transport: "sse" })]);
  expect(set.status()[0]?.reason).toContain(reason);
});
