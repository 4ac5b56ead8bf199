import { expect, test } from "bun:test";
import type { Ask, LinkHost, Peer } from "../../../src/upstream/link/link.ts";
import { linkHost } from "../../support/link-host.ts";
import { openSse } from "../../../src/upstream/transports/sse.ts";
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
