import { expect, test } from "bun:test";
import type { ClientAnswer, InputRequest } from "../../../src/core/inbound.ts";
import { openHttp } from "../../../src/upstream/transports/http.ts";
import { rejectionOf } from "../../support/failure.ts";
import { linkHost, linkRequest } from "../../support/link-host.ts";
import { event, isCall, type Message, openStream, serve } from "../../support/mcp-server.ts";
import { callTo, http, listed, textOf, upstreams } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

// Messages that need no answer, to an HTTP server that is slow to accept them.

const rootsChanged = "notifications/roots/list_changed";
const cancelled = "notifications/cancelled";

/** A server that accepts none of these notifications before `take` is called. */
function reluctant(method: string, hangs = false) {
  const taken = Promise.withResolvers<void>();
  const server = serve(async (message) => {
    if (message.method === method) await taken.promise;
    if (isCall(message) && hangs) await new Promise(() => {});
    return null;
  });
  return { server, take: taken.resolve };
}

test("T12: if roots change repeatedly, one notification is in flight, and one follows it", async () => {
  const { server, take } = reluctant(rootsChanged);
  using _ = server;
  await using set = upstreams([http("a", server.url)]);
  const own = { session: "s", declares: { roots: { listChanged: true } } };
  await set.ask("a", "t", {}, own);
  for (let i = 0; i < 100; i++) {
    set.notify(callTo("x", {}, own), rootsChanged);
    await set.ask("a", "t", {}, own);
  }
  await until(() => server.of(rootsChanged).length > 0, "the first one");
  expect(server.of(rootsChanged)).toHaveLength(1);
  take();
  await until(() => server.of(rootsChanged).length === 2, "the second one");
  await set.ask("a", "t", {}, own);
  expect(server.of(rootsChanged)).toHaveLength(2);
  expect(set.status()[0]?.dropped).toBe(0);
});

/** Calls tools, cancels all calls, and waits until the first cancellations have reached the server. */
async function withdraw(set: ReturnType<typeof upstreams>, server: ReturnType<typeof serve>, count: number) {
  await set.settled();
  const controller = new AbortController();
  const calls = Array.from({ length: count }, () => rejectionOf(set.ask("a", "t", {}, { controller })));
  await until(() => server.of("tools/call").length === count, "all calls");
  controller.abort();
  for (const { code } of await Promise.all(calls)) expect(code).toBe("cancelled");
  await until(() => server.of(cancelled).length === 64, "the first of them");
}

test("T12: a slow server is notified of every cancelled call, 64 at a time", async () => {
  const { server, take } = reluctant(cancelled, true);
  using _ = server;
  await using set = upstreams([http("a", server.url)]);
  await withdraw(set, server, 200);
  take();
  await until(() => server.of(cancelled).length === 200, "the rest of them");
  const ids = (method: string, idOf: (message: Message) => unknown) =>
    new Set(server.of(method).map(({ message }) => Number(idOf(message))));
  expect(ids(cancelled, ({ params }) => params?.["requestId"])).toEqual(ids("tools/call", ({ id }) => id));
  expect(set.status()[0]?.dropped).toBe(0);
});

test("T12: if a server accepts no cancellations, 64 are sent, 1,024 wait until the first timeout, and the rest are dropped", async () => {
  const { server } = reluctant(cancelled);
  using _ = server;
  let dropped = 0;
  const host = { ...linkHost, dropped: () => void dropped++ };
  const link = openHttp({ url: server.url, headers: {}, getStream: false, courtesy: 1_000 }, host);
  const peer = { era: "legacy", revision: "2025-11-25" } as const;
  for (let i = 0; i < 1_200; i++) void link.notify(cancelled, `{"requestId":${i}}`, peer);
  expect(dropped).toBe(1_200 - 64 - 1_024);
  await until(() => server.of(cancelled).length === 64, "the first of them");
  await until(() => dropped === 1_200 - 64, "the end of those that wait");
  expect(server.of(cancelled)).toHaveLength(64);
  // A later one is sent again.
  void link.notify(cancelled, '{"requestId":1200}', peer);
  await until(() => server.of(cancelled).length === 65, "one more");
  await link.close();
});

test("over HTTP, the answer to a question waits until the server has accepted the earlier progress", async () => {
  const heard: unknown[] = [];
  const taken = Promise.withResolvers<void>();
  const question = { jsonrpc: "2.0", id: "q", method: "elicitation/create", params: { _meta: { progressToken: "t" } } };
  using server = serve(async ({ id, method, params, result }) => {
    if (method === "tools/call") {
      return openStream({
        async start(stream) {
          stream.enqueue(event(question));
          await taken.promise;
          stream.enqueue(event({ jsonrpc: "2.0", id, result: {} }));
          stream.close();
        },
      });
    }
    if (method === "notifications/progress") {
      // Enough time for a second message to overtake this one.
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
      heard.push(params?.["progress"]);
    } else if (id === "q" && result) {
      heard.push("answer");
      taken.resolve();
    }
    return null;
  });
  await using set = upstreams([http("a", server.url, { protocol: "legacy" })]);
  const input = async ({ progress }: InputRequest): Promise<ClientAnswer> => {
    for (let n = 1; n <= 100; n++) progress?.(`{"progressToken":"ours","progress":${n}}`);
    return { kind: "result", text: "{}" };
  };
  await set.ask("a", "t", {}, { declares: { elicitation: {} }, input });
  expect(heard).toEqual([1, 100, "answer"]);
});

test("over HTTP, a call whose caller cancels and so ends its link is cancelled, not lost", async () => {
  const { server } = reluctant(cancelled, true);
  using _ = server;
  const link = openHttp({ url: server.url, headers: {}, getStream: false, courtesy: 1_000 }, linkHost);
  const controller = new AbortController();
  const failed = rejectionOf(link.request(linkRequest({ signal: controller.signal })));
  await until(() => server.of("tools/call").length === 1, "the call");
  controller.abort();
  void link.close();
  expect((await failed).code).toBe("cancelled");
});

test.each([
  ["204", () => new Response(null, { status: 204 })],
  ["200 and JSON", () => Response.json({})],
  ["200 and text", () => new Response("Accepted")],
  ["400", () => new Response("no", { status: 400 })],
])("FIELD T10: a server may answer a notification with %s and still is connected and called", async (_, taken) => {
  using server = serve(({ method }) => (method?.startsWith("notifications/") ? taken() : null));
  await using set = await listed([http("a", server.url)]);
  expect(textOf(await set.ask("a", "t"))).toBe("ok");
  expect(server.of("notifications/initialized").length).toBe(2);
});
