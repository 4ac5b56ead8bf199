import { expect, test } from "bun:test";
import { faultOfError } from "../../../src/upstream/http/answer.ts";
import { query } from "../../../src/upstream/link/query.ts";
import { openHttp } from "../../../src/upstream/transports/http.ts";
import { rejectionOf } from "../../support/failure.ts";
import { linkHost } from "../../support/link-host.ts";
import { isCall, reply, serve, serveDying } from "../../support/mcp-server.ts";
import { http, listed } from "../../support/upstream.ts";

test("a request that a proxy refuses did not run, and the refusal is reported as the proxy's", async () => {
  using proxy = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(null, { status: 403 }) });
  const spec = { url: "https://upstream.test/mcp", headers: {}, proxy: proxy.url.href, getStream: false };
  const link = openHttp(spec, linkHost);
  const asked = query(link, {
    method: "ping",
    peer: { era: "legacy", revision: "2025-11-25" },
    timeout: 5_000,
  });
  const { code, message } = await rejectionOf(asked);
  expect([code, message]).toEqual(["upstream-down", expect.stringContaining("Proxy refused to open a tunnel: 403")]);
  await link.close();
});

/** A port on which nobody listens. */
function freePort(): number {
  using listener = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
  return Number(listener.port);
}

const places = { http: "http:", sse: "http:", websocket: "ws:" };
test.each(Object.entries(places))(
  "over %s, the error says whether the server or its proxy cannot be reached",
  async (transport, scheme) => {
    const port = freePort();
    const url = `${scheme}//127.0.0.1:${port}/`;
    const options = [
      http("direct", url, { transport }),
      http("proxied", url, { transport, proxy: `http://127.0.0.1:${port}` }),
    ];
    await using set = await listed(options);
    const reasons = set.status().map(({ reason }) => reason);
    expect(reasons).toEqual([
      "its address cannot be reached (ECONNREFUSED)",
      "its proxy cannot be reached (ECONNREFUSED)",
    ]);
  },
);

test("a proxy that requires credentials, configured or not, is distinguished from a server that does", async () => {
  using proxy = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(null, { status: 407 }) });
  const { href } = proxy.url;
  await using set = await listed([http("a", "http://upstream.test/", { proxy: href }), http("b", href)]);
  const reason = expect.stringContaining("a proxy on the way to it requires credentials (HTTP 407)");
  expect(set.status()).toMatchObject([{ reason }, { reason }]);
});

test("refused credentials are reported even if the server closes the connection before the body is complete", async () => {
  using server = serveDying(() => ({ said: "HTTP/1.1 401 Unauthorized\r\nContent-Length: 20\r\n\r\nno" }));
  await using set = await listed([http("a", server.url)]);
  expect(set.status()[0]?.reason).toContain("refuses the gateway's credentials (HTTP 401)");
});

test("refused credentials are reported long before the timeout if the announced body never arrives", async () => {
  const closed = Promise.withResolvers<void>();
  using silent = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data: (socket) => void socket.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 20\r\n\r\nno"),
      close: () => closed.resolve(),
    },
  });
  const spec = { url: `http://127.0.0.1:${silent.port}/`, headers: {}, getStream: false };
  const link = openHttp(spec, linkHost);
  const peer = { era: "legacy", revision: "2025-11-25" } as const;
  const { message } = await rejectionOf(query(link, { method: "ping", peer, timeout: 60_000 }));
  expect(message).toContain("refuses the gateway's credentials (HTTP 401)");
  await closed.promise;
  await link.close();
});

test("the refusal of a WebSocket is reported without the server's address", async () => {
  using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(null, { status: 401 }) });
  await using set = await listed([http("a", `ws://127.0.0.1:${server.port}/?key=secret`, { transport: "websocket" })]);
  expect(set.status()[0]?.reason).toBe("its connection failed (Expected 101 status code: 401)");
});

test.each([
  ["ECONNREFUSED", "upstream-down"],
  ["EADDRNOTAVAIL", "overloaded"],
  ["EMFILE", "overloaded"],
  ["ESERVFAIL", "upstream-down"],
  ["EACCES", "upstream-down"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "upstream-down"],
  ["CERT_HAS_EXPIRED", "upstream-down"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "upstream-down"],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "upstream-down"],
  ["ECONNRESET", "lost"],
  ["EPROTO", "lost"],
])("a request that failed with %s ends as %s", (code, means) => {
  expect(faultOfError(linkHost, Object.assign(new Error("no"), { code }))).toMatchObject({
    code: means,
    detail: { ran: means === "lost" ? "maybe" : "no" },
  });
});

test("T19: the error for a certificate of an unknown CA says how to trust the CA; errors for other certificates do not", () => {
  const message = (code: string) => faultOfError(linkHost, Object.assign(new Error("no"), { code })).message;
  const advice = "set NODE_EXTRA_CA_CERTS to the file of your own CA";
  for (const code of ["SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"])
    expect(message(code)).toContain(`the TLS handshake with it failed (${code}); ${advice}`);
  for (const code of ["CERT_HAS_EXPIRED", "ERR_TLS_CERT_ALTNAME_INVALID"]) expect(message(code)).not.toContain(advice);
});

const waits: [string, string, number | undefined][] = [
  ["seconds", "7", 7_000],
  ["none", "0", 1_000],
  ["a week", "604800", 3_600_000],
  ["a time in the past", "Fri, 31 Dec 1999 23:59:59 GMT", 1_000],
  ["a time far ahead", "Fri, 31 Dec 2999 23:59:59 GMT", 3_600_000],
  ["an unreadable value", "soon", undefined],
  ["a negative value", "-5", undefined],
];
test.each(waits)("R61 the wait that a busy server asks for is reported to the caller: %s", async (_, said, wait) => {
  using server = serve((message) =>
    isCall(message) ? new Response("busy", { status: 503, headers: { "retry-after": said } }) : null,
  );
  await using set = await listed([http("a", server.url)]);
  const { code, message, detail } = await rejectionOf(set.ask("a", "t"));
  expect([code, detail.retryAfterMs]).toEqual(["upstream-overloaded", wait]);
  expect(message).toEndWith(wait === undefined ? "Try again later." : `Try again in ${wait / 1000} s.`);
});

test("T13, T19: a compressed answer is not read, since a kilobyte can become a gigabyte", async () => {
  for (const type of ["application/json", "text/event-stream"]) {
    const answer = (id: unknown) => `data: ${JSON.stringify({ jsonrpc: "2.0", id, result: {} })}\n\n`;
    const headers = { "content-type": type, "content-encoding": "gzip" };
    using server = serve((message) =>
      isCall(message) ? new Response(Bun.gzipSync(answer(message.id)), { headers }) : null,
    );
    await using set = await listed([http("a", server.url)]);
    const failure = await rejectionOf(set.ask("a", "t"));
    expect(failure.code).toBe("upstream-protocol");
    expect(failure.message).toContain("compressed");
  }
});

test("an answer whose Content-Encoding names a charset is read", async () => {
  const headers = { "content-encoding": "utf-8" };
  using server = serve((message) => (isCall(message) ? reply(message.id, { content: [] }, headers) : null));
  await using set = await listed([http("a", server.url)]);
  expect(JSON.parse((await set.ask("a", "t")).text)).toEqual({ content: [] });
});
