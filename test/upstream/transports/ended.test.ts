import { expect, test } from "bun:test";
import { initialize } from "../../../src/upstream/link/handshake.ts";
import { query } from "../../../src/upstream/link/query.ts";
import { openHttp } from "../../../src/upstream/transports/http.ts";
import { rejectionOf } from "../../support/failure.ts";
import { linkHost } from "../../support/link-host.ts";
import { isCall, opens, serve } from "../../support/mcp-server.ts";
import { until } from "../../support/until.ts";

const peer = { era: "legacy", revision: "2025-11-25" } as const;
const open = (url: string) => openHttp({ url, headers: {}, getStream: false }, linkHost);

test("requests in flight when an HTTP link ends are lost, and nothing is sent after that", async () => {
  using server = serve((message) => (isCall(message) ? new Promise(() => {}) : null));
  const link = open(server.url);
  const called = rejectionOf(query(link, { method: "tools/call", peer, timeout: 60_000 }));
  await until(() => server.of("tools/call").length === 1, "the call");
  link.fail("it hangs");
  expect(await called).toMatchObject({ code: "lost", message: expect.stringContaining("it hangs") });
  expect((await rejectionOf(query(link, { method: "ping", peer, timeout: 60_000 }))).code).toBe("upstream-down");
  await link.notify("notifications/roots/list_changed", null, peer);
  expect(server.seen.map(({ method }) => method)).toEqual(["tools/call"]);
});

test("a request that was given up before it was sent is not sent over HTTP", async () => {
  using server = serve(() => null);
  const link = open(server.url);
  const signal = AbortSignal.abort();
  const asked = query(link, { method: "tools/call", peer, timeout: 60_000, signal });
  expect((await rejectionOf(asked)).code).toBe("cancelled");
  await link.close();
  expect(server.seen).toEqual([]);
});

test("a link is closed once its session has ended, even if it broke before", async () => {
  const taken = Promise.withResolvers<void>();
  using server = serve(async ({ method, id }, { method: verb }) => {
    if (verb !== "DELETE") return method === "initialize" ? opens(id, "s") : null;
    await taken.promise;
    return new Response(null, { status: 204 });
  });
  const link = open(server.url);
  await initialize(link, 60_000);
  link.fail("it floods");
  let closed = false;
  const closing = link.close().then(() => (closed = true));
  await until(() => server.seen.some(({ verb }) => verb === "DELETE"), "the end of the session");
  expect(closed).toBe(false);
  taken.resolve();
  await closing;
});
