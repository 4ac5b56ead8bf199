import { expect, test } from "bun:test";
import type { Ask, LinkHost, Peer } from "../../../src/upstream/link/link.ts";
import { linkHost } from "../../support/link-host.ts";
import { openSse } from "../../../src/upstream/transports/sse.ts";
import { http, textOf, upstreams } from "../../support/upstream.ts";
import { text } from "../../support/mcp-server.ts";
import { failureOf } from "../../suites/transport.ts";
import { until } from "../../support/until.ts";

const peer: Peer = { era: "legacy", revision: "2024-11-05" };
const host: LinkHost = { ...linkHost, notified: () => true };
const ask = (method: string, timeout: number): Ask => ({
  method,
  params: () => null,
  peer,
  timeout,
  most: timeout,
  signal: new AbortController().signal,
  purpose: { kind: "own" },
  headers: null,
});

/** The old pair of endpoints, which answers requests at once and takes nothing else; it pings so often before it answers. */
function deafServer(pings = 0) {
  const posted: (string | undefined)[] = [];
  const encoder = new TextEncoder();
  let stream: ReadableStreamDefaultController<Uint8Array> | undefined;
  const say = (name: string, data: string): void =>
    stream?.enqueue(encoder.encode(`event: ${name}\ndata: ${data}\n\n`));
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    async fetch(request) {
      if (request.method === "GET") {
        const body = new ReadableStream<Uint8Array>({ start: (one) => void (stream = one) });
        say("endpoint", "/messages");
        return new Response(body, { headers: { "content-type": "text/event-stream" } });
      }
      const { id, method } = (await request.json()) as { id?: number; method?: string };
      posted.push(method);
      if (id === undefined || method === undefined) return new Promise<Response>(() => {});
      for (let i = 0; i < pings; i++) say("message", `{"jsonrpc":"2.0","id":${i},"method":"ping"}`);
      say("message", JSON.stringify({ jsonrpc: "2.0", id, result: {} }));
      return new Response(null, { status: 202 });
    },
  });
  return { url: server.url.href, posted, [Symbol.dispose]: () => void server.stop(true) };
}

test("a notification that the server never takes holds up what follows for as long as courtesy asks, no longer", async () => {
  using server = deafServer();
  const spec = { url: server.url, headers: {}, proxy: null };
  const link = openSse(spec, host, 300);
  expect(await link.ask(ask("initialize", 2_000))).toMatchObject({ kind: "result" });
  void link.tell("notifications/initialized", null, peer);
  await until(() => server.posted.length === 2, "the notification");
  // What was held back has not run, and says so.
  expect(await failureOf(link.ask(ask("tools/call", 50)))).toMatchObject({ code: "overloaded" });
  expect(await link.ask(ask("tools/list", 2_000))).toMatchObject({ kind: "result" });
  expect(server.posted).toEqual(["initialize", "notifications/initialized", "tools/list"]);
  await link.close();
});

test("a server that pings without taking the answers gets only some at once", async () => {
  using server = deafServer(500);
  const link = openSse({ url: server.url, headers: {}, proxy: null }, host);
  expect(await link.ask(ask("initialize", 2_000))).toMatchObject({ kind: "result" });
  await until(() => server.posted.length === 1 + 64, "the answers");
  expect(await link.ask(ask("tools/list", 2_000))).toMatchObject({ kind: "result" });
  expect(server.posted.filter((method) => method === undefined).length).toBe(64);
  await link.close();
});

/** The old pair of endpoints; what is POSTed for a stream that it has forgotten is refused with `status`, or never answered on 202. */
function forgetfulServer(status: number) {
  const streams: ReadableStreamDefaultController<string>[] = [];
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
        const start = (one: ReadableStreamDefaultController<string>): void => {
          streams.push(one);
          one.enqueue(`event: endpoint\ndata: ${data}\n\n`);
        };
        return new Response(new ReadableStream({ start }), { headers: { "content-type": "text/event-stream" } });
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
    `T45: a server that forgets its old stream (POST: %i) is connected anew (transport: ${transport})`,
    async (status) => {
      using server = forgetfulServer(status);
      const options = http("a", server.url, { transport, timeout: "300ms" });
      await using set = upstreams([{ ...options, healthCheck: 200 }]);
      await set.settled();
      const call = (): Promise<string> => set.ask("a", "t").then(textOf, ({ code }) => code);
      expect(await call()).toBe("ok");
      server.forget();
      expect(await call()).toBe(status === 202 ? "timeout" : "upstream-down");
      await until(async () => (await call()) === "ok", "the next connection");
    },
  );
}
