import { expect, test } from "bun:test";
import { openStream, opens, refusal, reply, serve } from "../../support/mcp-server.ts";
import { http, listed, serveFake, textOf, upstreams } from "../../support/upstream.ts";
import { until } from "../../support/until.ts";

test("everything that is sent to a server goes through its proxy", async () => {
  // The server's host name does not exist, so only the proxy can answer.
  using proxy = serve(({ method, id }) => (method === "initialize" ? opens(id, "s") : null));
  {
    await using set = await listed([http("a", "http://upstream.test/mcp", { proxy: proxy.url })]);
    expect(textOf(await set.ask("a", "t"))).toBe("ok");
  }
  const seen = proxy.seen.map(({ verb, method }) => `${verb} ${method}`);
  for (const each of ["POST initialize", "POST notifications/initialized", "GET ", "POST tools/call", "DELETE "])
    expect(seen).toContain(each);
});

test("so does everything that is sent to a server over the old pair of endpoints", async () => {
  await using proxy = await serveFake(["--pair"]);
  const { pathname } = new URL(proxy.url);
  const options = http("a", `http://upstream.test${pathname}`, { transport: "sse", proxy: proxy.url });
  await using set = await listed([options]);
  expect(textOf(await set.ask("a", "echo", { a: 1 }))).toContain("1");
});

test.each([
  ["is never answered", () => openStream({ start: (stream) => stream.enqueue(":\n\n") })],
  ["is answered by an error", (id: unknown) => refusal(id, -32603, "no")],
  ["agrees on no revision", (id: unknown) => reply(id, { protocolVersion: "1999-01-01", capabilities: {} })],
])("FIELD T18: a session is ended even if its handshake %s", async (_, answer) => {
  using server = serve(({ method, id }) => {
    if (method !== "initialize") return null;
    const response = answer(id);
    response.headers.set("mcp-session-id", "s1");
    return response;
  });
  await using _set = upstreams([http("a", server.url, { timeout: "200ms" })]);
  const end = await until(() => server.seen.find(({ verb }) => verb === "DELETE"), "its end");
  expect(end.headers.get("mcp-session-id")).toBe("s1");
});
