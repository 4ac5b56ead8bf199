import { afterEach, expect, jest, test } from "bun:test";
import { createServer, type Socket } from "node:net";
import { once } from "node:events";
import { faults } from "../../../src/upstream/faults.ts";
import { readEvents } from "../../../src/upstream/http/event-stream.ts";
import { ungreeted } from "../../../src/upstream/link/handshake.ts";
import type { Link, LinkRequest } from "../../../src/upstream/link/link.ts";
import { beginListen, holdListen } from "../../../src/upstream/link/listen.ts";
import { PipeLink } from "../../../src/upstream/link/pipe-link.ts";
import { rejectionOf } from "../../support/failure.ts";
import { linkHost } from "../../support/link-host.ts";
import { discovers, listening, refusal, serve, type Stream, told } from "../../support/mcp-server.ts";
import { suspendProcess } from "../../support/stand-still.ts";
import { http, upstreams } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

afterEach(() => void jest.useRealTimers());

test("a server that refuses to continue an accepted listening request is asked again, and its listeners are notified", async () => {
  const streams: Stream[] = [];
  using server = serve(({ method, id, params }) => {
    if (method === "server/discover") return discovers(id, { tools: {} });
    if (method !== "subscriptions/listen") return null;
    if (server.of(method).length === 2) return refusal(id, -32603, "not now");
    return listening(id, params?.["notifications"], (stream) => streams.push(stream));
  });
  await using set = upstreams([http("a", server.url)]);
  let updated = 0;
  await set.follow("a", "test://a", () => updated++, "modern");
  streams[0]?.close();
  await until(() => updated > 0, "the listener to be told");
  expect(server.of("subscriptions/listen").length).toBe(3);
  expect(set.status()[0]).toMatchObject({ subscriptions: 1, streams: 1 });
});

/**
 * A modern server that acknowledges what `honour` returns for each listening request, with a stream that stays open.
 */
function serveListening(honour: (uris: string[]) => string[] | Promise<string[]>) {
  const streams: Stream[] = [];
  const server = serve(async ({ method, id, params }) => {
    if (method === "server/discover") return discovers(id);
    if (method !== "subscriptions/listen") return null;
    const { notifications } = params as { notifications: { resourceSubscriptions: string[] } };
    const resourceSubscriptions = await honour(notifications.resourceSubscriptions);
    return listening(id, { resourceSubscriptions }, (stream) => streams.push(stream));
  });
  return { url: server.url, of: server.of, streams, [Symbol.dispose]: () => server[Symbol.dispose]() };
}

test("a subscription to a resource is granted again before its server has learned of its end", async () => {
  const asked = Promise.withResolvers<void>();
  const acknowledge = Promise.withResolvers<void>();
  using server = serveListening(async (uris) => {
    if (uris.length === 2) {
      asked.resolve();
      await acknowledge.promise;
    }
    return uris;
  });
  await using set = upstreams([http("a", server.url)]);
  const follow = (uri: string) => set.follow("a", uri, () => {}, "modern");
  const end = await follow("test://a");
  const other = follow("test://b");
  await asked.promise;
  end();
  const again = follow("test://a");
  await until(() => set.status()[0]?.subscriptions === 2, "the second subscription");
  acknowledge.resolve();
  await Promise.all([other, again]);
  expect(server.of("subscriptions/listen").length).toBe(2);
});

test("a server that honors less after an interruption is asked again, and the listeners are notified", async () => {
  using server = serveListening((uris) => (server.of("subscriptions/listen").length === 2 ? uris.slice(1) : uris));
  await using set = upstreams([http("a", server.url)]);
  let updated = 0;
  await set.follow("a", "test://a", () => updated++, "modern");
  server.streams[0]?.close();
  await until(() => server.streams.length === 3, "a third request");
  await until(() => set.status()[0]?.streams === 1 && updated > 1, "the listener to be told");
  const before = updated;
  server.streams[2]?.enqueue(told("notifications/resources/updated", { uri: "test://a" }));
  await until(() => updated === before + 1, "an update");
});

const listenOn = (link: Link, signal: AbortSignal): Promise<void> =>
  holdListen(
    {
      instance: { link, peer: ungreeted },
      filter: {},
      heard: () => {},
      missed: () => {},
    },
    signal,
  );

test("listening to a server that reads nothing continues until it is aborted", async () => {
  const link = new PipeLink(linkHost, () => ({
    pid: null,
    write: () => false,
    take: () => false,
    close: async () => {},
  }));
  const controller = new AbortController();
  const listening = listenOn(link, controller.signal);
  expect(Bun.peek.status(listening)).toBe("pending");
  controller.abort();
  await listening;
});

test("listening continues after an error that ends a request that the server had acknowledged", async () => {
  jest.useFakeTimers();
  let asked = 0;
  const slept = Promise.withResolvers<void>();
  const request = async ({ purpose }: LinkRequest): Promise<unknown> => {
    if (asked++ === 0 && purpose.kind === "listen") purpose.notified("notifications/subscriptions/acknowledged", "{}");
    setImmediate(slept.resolve);
    return { kind: "error" };
  };
  const listening = listenOn({ host: linkHost, over: null, request } as unknown as Link, new AbortController().signal);
  await slept.promise;
  expect(asked).toBe(1);
  jest.advanceTimersByTime(1_000);
  await listening;
  expect(asked).toBe(2);
});

test("a listening request that is not acknowledged in time is cancelled at its server", async () => {
  const requests: LinkRequest[] = [];
  const link = {
    host: linkHost,
    over: null,
    request: (request: LinkRequest) => (
      requests.push(request),
      new Promise((resolve) => request.signal.addEventListener("abort", () => resolve(null)))
    ),
  } as unknown as Link;
  const listening = { instance: { link, peer: ungreeted }, filter: {}, missed: () => {}, heard: () => {} };
  const silent = faults.down("a", "it is silent");
  expect(await rejectionOf(beginListen(listening, 5, silent))).toBe(silent);
  expect(requests.map(({ signal }) => signal.aborted)).toEqual([true]);
});

test("no request is sent over a link that has ended", async () => {
  let over = false;
  const request = (): Promise<never> => ((over = true), Promise.reject(new Error("it has ended")));
  const link = {
    host: linkHost,
    request,
    get over() {
      return over ? { reason: "it has ended" } : null;
    },
  } as unknown as Link;
  jest.useFakeTimers();
  const listening = listenOn(link, new AbortController().signal);
  for (let turns = 0; turns < 20; turns++) await Promise.resolve();
  jest.advanceTimersByTime(1_000);
  await listening;
});

test("repeated listening requests do not add handlers to the end of the link", async () => {
  const held: string[] = [];
  const link = new Proxy(
    { host: linkHost, over: null, request: () => Promise.reject(new Error("broken")) } as unknown as Link,
    {
      get: (target, key, self): unknown => (held.push(String(key)), Reflect.get(target, key, self)),
    },
  );
  const controller = new AbortController();
  const listening = listenOn(link, controller.signal);
  await until(() => held.includes("request"), "the request");
  controller.abort();
  await listening;
  expect(held).not.toContain("ended");
});

/** A peer that sends `first` and then nothing, like a connection whose other end is gone. */
async function mute(first: string) {
  const requests: string[] = [];
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.once("data", (data) => {
      requests.push(data.toString());
      socket.write(`HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n${first}`);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  const dispose = (): void => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { url: `http://127.0.0.1:${port}/`, requests, sockets, [Symbol.dispose]: dispose };
}

test("a stream that falls silent is ended, and so is its connection", async () => {
  using peer = await mute("id: e1\ndata: {}\n\n");
  const reading = readEvents(await fetch(peer.url), { longest: () => 1_000, silence: 50, received: () => {} });
  expect(await reading).toMatchObject({ lastId: "e1", broken: null });
  await until(() => peer.sockets[0]?.closed, "the connection to end");
});

test.each(["id: é\n", "id: \u007f\n", `id: ${"x".repeat(1_025)}\n`])(
  "a stream is not resumed after an event whose id is not allowed in a header: %j",
  async (id) => {
    const body = new Blob([`${id}data: {}\n\n`]);
    const headers = { "content-type": "text/event-stream" };
    const reading = { longest: () => 10_000, silence: null, received: () => {} };
    expect(await readEvents(new Response(body, { headers }), reading)).toMatchObject({ lastId: null, broken: null });
  },
);

test("a comment is a sign of life", async () => {
  jest.useFakeTimers();
  let ended = false;
  const cancel = (): void => void (ended = true);
  let wanted = Promise.withResolvers<ReadableStreamDefaultController<Uint8Array>>();
  // `pull` is called again once the previous chunk has been read.
  const body = new ReadableStream<Uint8Array>({ pull: (to) => wanted.resolve(to), cancel }, { highWaterMark: 0 });
  const reading = readEvents(new Response(body), { longest: () => 1_000, silence: 150, received: () => {} });
  for (let comments = 0; comments < 3; comments++) {
    const stream = await wanted.promise;
    jest.advanceTimersByTime(149);
    expect(ended).toBe(false);
    wanted = Promise.withResolvers();
    stream.enqueue(Buffer.from(": still here\n\n"));
  }
  await wanted.promise;
  jest.advanceTimersByTime(150);
  await reading;
  expect(ended).toBe(true);
});

test("data that arrived on a stream while the process was suspended is read, however long that was", async () => {
  const child = Bun.spawn(["sh", "-c", "sleep 0.2; echo 'data: {}'; echo; exec sleep 60"]);
  const { promise: first, resolve: received } = Promise.withResolvers<string>();
  const reading = readEvents(new Response(child.stdout), { longest: () => 1_000, silence: 300, received });
  await suspendProcess(900);
  expect(await first).toBe("{}");
  expect(await reading).toMatchObject({ broken: null });
  child.kill();
});
